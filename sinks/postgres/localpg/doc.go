// Package localpg runs a private PostgreSQL for those who have not set up one: the server that haloingest uses when no
// --database-url is given, and the one the tests run against.
//
// Everything lives in <data-dir>/postgres:
//
//	cluster      the PGDATA directory, or a symlink to it (see below)
//	s            the directory of the Unix socket, or a symlink to it
//	password     the password of the only role, readable by its owner alone
//	port         the loopback port, chosen once and kept while it is free
//	server.log   what the server says
//	start.lock   held exclusively while somebody starts or stops the server
//	use.lock     held shared by every process that uses the server
//
// # Sharing
//
// Any number of processes may call Start with the same data directory at the same time. The first one starts the server, the
// others attach to it, and the one whose Close finds nobody else holding use.lock stops it. Both locks are flock(2) locks, which
// the kernel drops when a process dies, so a process that was killed never counts as a user. A server that such a process left
// behind is adopted by the next Start and stopped by its Close.
//
// # Root
//
// PostgreSQL refuses to run as root. Under root the server runs as the account "postgres" (or "_postgres", or "nobody"), which
// therefore has to be able to walk to the cluster. Where it is not (a data directory below a 0700 home), the permissions of the
// folders are left as they are: the cluster is kept in a folder of its own below /var/lib/haloingest (or the temporary folder, if
// the data directory is there), and "cluster" and "s" become symlinks to there.
//
// # Access
//
// The server listens on a Unix socket and on 127.0.0.1, and both ask for the password (SCRAM), so that other accounts on the
// machine have no way in. It never listens on another address.
package localpg
