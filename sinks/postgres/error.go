package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"haloingest/pipeline/record"
)

var (
	// ErrDatabase is what every failure of the database is (errors.Is): unreachable, refused, broken or full.
	ErrDatabase = errors.New("the database failed")
	// ErrURL says that the database URL cannot be read. It never holds the URL.
	ErrURL = errors.New("the database URL cannot be read")
	// ErrHeld says that somebody else holds the organisation; the error is a *HeldError.
	ErrHeld = errors.New("another run holds this workspace")
	// ErrFenced says that somebody else has taken the organisation over, so nothing was written.
	ErrFenced = errors.New("another run has taken over this workspace")
	// ErrSchemaNewer says that the database was brought up to date by a newer program.
	ErrSchemaNewer = errors.New("the database schema is newer than this program")
	// ErrSchema says that a table is there but is not one that this program can write.
	ErrSchema = errors.New("the database schema does not fit")
	// ErrNotFound says that the organisation has no such run or reject.
	ErrNotFound = errors.New("not found")
)

// Error is a failure of the database while doing Op. It is ErrDatabase, and unwraps to the driver's error. No part of it
// holds a password.
type Error struct {
	Op   string // what was being done, e.g. "read checkpoint contacts"
	Hint string // what a person can do about it, or ""
	Err  error
}

func (e *Error) Error() string {
	text := e.Op + ": " + describe(e.Err)
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap returns the driver's error.
func (e *Error) Unwrap() error { return e.Err }

// Is makes every Error an ErrDatabase.
func (e *Error) Is(target error) bool { return target == ErrDatabase }

// HeldError says who holds an organisation. It is ErrHeld.
type HeldError struct {
	Org          record.UUID
	Holder       string
	Since        time.Time
	HeartbeatAge time.Duration // how long ago the holder last said that it is alive
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("another run holds this workspace: %s, since %s, last sign of life %s ago",
		e.Holder, e.Since.UTC().Format("2006-01-02 15:04:05 UTC"), e.HeartbeatAge.Round(time.Second))
}

// Is makes every HeldError an ErrHeld.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// wrap names the operation that failed. What is not the database's doing (a context that ended, the errors of this package)
// keeps its kind; everything else becomes an *Error.
func wrap(ctx context.Context, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	op := fmt.Sprintf(format, args...)
	for _, own := range []error{ErrURL, ErrNotUndoable, ErrHeld, ErrFenced, ErrSchemaNewer, ErrSchema, ErrNotFound, ErrDatabase} {
		if errors.Is(err, own) {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	if ctx.Err() != nil && !isServerError(err) {
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	return &Error{Op: op, Hint: hint(err), Err: err}
}

func isServerError(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code != "57014" // a cancelled query is our own doing when ctx is done
}

// describe is the message of err with the driver's part of it put briefly, and on one line.
func describe(err error) string {
	text := err.Error()
	var server *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &server):
		short := server.Message
		if server.Detail != "" && !showsValues(server.Code) {
			short += ": " + server.Detail
		}
		short = fmt.Sprintf("%s (SQLSTATE %s)", short, server.Code)
		if errors.As(err, &connect) {
			return short
		}
		text = strings.ReplaceAll(text, server.Error(), short)
	case errors.As(err, &connect):
		c := connect.Config
		short := fmt.Sprintf("no connection to database %q on %s:%d as %q: %s", c.Database, c.Host, c.Port, c.User, connect.Unwrap())
		text = strings.ReplaceAll(text, connect.Error(), short)
	}
	return strings.Join(strings.Fields(text), " ")
}

// showsValues reports whether the detail of an error quotes a row: personal data has no place in a log.
func showsValues(code string) bool {
	return strings.HasPrefix(code, "23") || strings.HasPrefix(code, "22")
}

func hint(err error) string {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		var connect *pgconn.ConnectError
		if errors.As(err, &connect) {
			return "is the server running, and does --database-url name its host and port?"
		}
		return ""
	}
	switch server.Code {
	case "28P01", "28000":
		return "check the user and the password in --database-url"
	case "3D000":
		return "create the database, or name another one in --database-url"
	case "42501":
		return "the database role needs this right; ask the database's owner for it"
	case "53300":
		return "the server has no free connections; raise its max_connections, or end what uses them"
	case "53100":
		return "the server's disk is full"
	case "55P03":
		return "another session holds a lock on it; try again when it has finished"
	}
	return ""
}

// SQLState returns the five characters by which PostgreSQL names an error, or "" if err has none.
func SQLState(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code
	}
	return ""
}

// Transient reports whether the same transaction may succeed when it is tried again: the connection was lost or could not be
// made, the server is restarting or has no free connection, or two transactions got in each other's way. It says nothing about
// whether a COMMIT that failed took effect; advance finds that out.
func Transient(err error) bool {
	if err == nil || errors.Is(err, ErrFenced) {
		return false
	}
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch server.Code {
		case "40001", "40P01", // serialization failure, deadlock
			"53300",                   // too many connections
			"55P03",                   // lock timeout
			"57P01", "57P02", "57P03", // shutdown by an administrator, crash, starting up
			"25P03", "57P05": // idle for too long
			return true
		}
		return strings.HasPrefix(server.Code, "08")
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect), errors.As(err, &network), pgconn.SafeToRetry(err):
		return true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return true
	case errors.Is(err, pgx.ErrTxClosed):
		return true
	}
	// pgconn keeps the type of what broke a connection to itself.
	return strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "closed the connection")
}
