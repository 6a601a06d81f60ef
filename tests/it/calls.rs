//! Issue point 1: every live-meeting call, as a front end sees it.

mod creates;
mod documents;
mod faithful;
mod generations;
mod joins;
mod limits;
mod small;
