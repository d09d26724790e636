// Package service is `haloingest serve`: it makes the parts, gives each its routes and its share of the database's connections, and ends them in
// order. What the parts do is theirs: work (queue, workers, schedule), access (who may do what), site (the integration page), metric, and
// sources/webhook. They depend on this package in nothing.
//
// # A process
//
// Everything that must be known elsewhere is in PostgreSQL, so any number of processes may serve, each for all organisations, and any of them may be
// killed at any moment: a webhook that was answered 200 is on disk, a job that had begun is succeeded elsewhere, and what a run had not
// committed is read again.
//
// # The database goes away
//
// At the start, that is an error. Later it is not: /healthz stays 200, /readyz says 503 and that it cannot be reached, webhooks are answered 503 (Intercom sends them
// again), pages say what is the matter, and everything goes on by itself once the database is back.
//
// # The master key does not fit
//
// At the start, that is an error, so that nothing is accepted or taken up that cannot be worked on. Later, /readyz says 503 until it fits again;
// where it is, and what is wrong with it, is in the log alone, as with the database.
//
// # The end
//
// When its first context is done, /readyz says 503 at once; nothing more is accepted, requests under way are finished, event streams end, the
// receiver of webhooks makes durable what it has accepted, runs commit what they have read, and the connections are closed. That is how
// serving is meant to end, so Run returns nil. When the other context is done as well, everything is cut at once; nothing that was
// committed or answered 200 is lost by that.
package service
