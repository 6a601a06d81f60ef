-- Each write of a placement gives it a new number, never used before: the journal's, which each such write is noted in.
-- Whoever moves or releases a placement names the number it knows, and so learns that somebody else was there since.

ALTER TABLE placements ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
