-- Who this store is, wherever its file is moved: a running Usher knows by it whether another process uses the same one.

CREATE TABLE store_id (id TEXT NOT NULL) STRICT;
INSERT INTO store_id (id) VALUES (lower(hex(randomblob(16))));
