-- How many signed requests a tenant may send in a second.

ALTER TABLE tenants ADD COLUMN max_requests INTEGER;
