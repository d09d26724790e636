// Package halo reads Halo's tables back: it is the database's side of a diff (haloingest/sinks/diff).
//
// All entities are read in one REPEATABLE READ transaction, each table by one binary COPY without any order and without any hash made by
// the server, which is the least that a server can do to hand out a table. The content hash of each row is made anew here from its columns: it covers,
// in the same order and encoding, what the Seal functions of haloingest/pipeline/record cover. jsonb comes as text in PostgreSQL's own order of keys
// and is brought into record.CanonicalJSON's form on the way; see canonical.
//
// What no content hash covers is asked of the server once per table, in the same transaction: which rows have links that are not what the
// identity map says, which rows claim to be an object's but are bound to none, which objects are gone.
package halo
