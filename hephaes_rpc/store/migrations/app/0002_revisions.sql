-- How many transactions have changed a noun, by which a process tells the changes of others from its own.
CREATE TABLE revisions (
    noun TEXT NOT NULL PRIMARY KEY,
    n INTEGER NOT NULL
) STRICT;
