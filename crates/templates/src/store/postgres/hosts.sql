-- Which hosts the database is for: all that share objects with it (NULL), or the one whose data has its images.
CREATE TABLE hosts (node text);
