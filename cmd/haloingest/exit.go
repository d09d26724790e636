package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/onboard"
	"haloingest/cmd/haloingest/internal/replay"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/pipeline"
	"haloingest/sinks/diff"
	"haloingest/sinks/parquet"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg"
	"haloingest/sources/intercom"
	"haloingest/sources/snapshot"
)

// Exit codes (contract, "Commands").
const (
	exitDone        = 0
	exitDiffers     = 1
	exitUsage       = 2
	exitIncomplete  = 3
	exitInvariant   = 4
	exitDatabase    = 5
	exitHeld        = 6
	exitInterrupted = 130
)

const exitCodesHelp = `Exit codes: 0 done; 1 done, but something was rejected or differs; 2 usage or configuration;
3 not everything could be read from Intercom, or kept in the snapshot; 4 an invariant is broken, or a snapshot
is corrupt; 5 the database refused or failed; 6 another run holds this workspace; 130 interrupted, what was read is committed.

Every flag --some-flag can be set as HALOINGEST_SOME_FLAG. Secrets come from files, standard input or the
environment, never from a flag's value.`

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// errQuiet ends a command whose result says everything already; only its code counts.
var errQuiet = errors.New("see the result")

func quiet(code int) error {
	if code == exitDone {
		return nil
	}
	return &exitError{code, errQuiet}
}

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	var known *exitError
	var api *intercom.Error
	var region *intercom.RegionError
	var refusal *onboard.Refusal
	var broken *snapshot.CorruptError
	var foreign *snapshot.OrgError
	var unknown *snapshot.RunError
	var newer *snapshot.VersionError
	var mixed *replay.MappingError
	var files *parquet.StoreError
	var setting *service.SettingError
	var address *service.ListenError
	var person *access.InputError
	var parser cli.ExitCoder // the flag library's own
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &known):
		return known.code
	case errors.As(err, &parser):
		return exitUsage
	case errors.As(err, &refusal) && refusal.Why == onboard.MissingScope:
		return exitIncomplete
	case errors.As(err, &setting), errors.As(err, &address), errors.As(err, &person), errors.Is(err, access.ErrNoUser), errors.Is(err, intercom.ErrTokenForm):
		return exitUsage
	case errors.Is(err, pipeline.ErrStopped), errors.Is(err, errInterrupted), errors.Is(err, service.ErrAborted):
		return exitInterrupted
	case errors.Is(err, postgres.ErrHeld):
		return exitHeld
	case errors.Is(err, postgres.ErrInvariant), errors.Is(err, diff.ErrConservation), errors.As(err, &broken):
		return exitInvariant
	case errors.Is(err, snapshot.ErrNoSnapshot), errors.Is(err, snapshot.ErrSealed), errors.As(err, &foreign), errors.As(err, &unknown), errors.As(err, &newer), errors.As(err, &mixed):
		return exitUsage
	case errors.Is(err, connection.ErrNotConnected), errors.Is(err, connection.ErrOtherWorkspace),
		errors.Is(err, secret.ErrMasterKey), errors.Is(err, localpg.ErrNotFound), errors.As(err, &region):
		return exitUsage
	case errors.Is(err, ingest.ErrOff), errors.Is(err, ingest.ErrNoBackfill), errors.Is(err, parquet.ErrStore):
		return exitUsage
	case errors.As(err, &api), errors.Is(err, pipeline.ErrTooManyRejects), errors.Is(err, intercom.ErrSpool), errors.Is(err, diff.ErrSpill), errors.Is(err, intercom.ErrFolder):
		return exitIncomplete
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &files):
		return exitIncomplete
	case errors.Is(err, postgres.ErrURL), errors.Is(err, postgres.ErrSchemaNewer), errors.Is(err, postgres.ErrSchema):
		return exitUsage
	case errors.Is(err, postgres.ErrFenced):
		return exitHeld
	case errors.Is(err, postgres.ErrDatabase), postgres.SQLState(err) != "", postgres.Transient(err):
		return exitDatabase
	}
	return exitInvariant // what nobody foresaw, panics among them
}

// exit prints an error once, in one line, and returns its code.
func (a *app) exit(err error, out *keptWriter) int {
	if (err == nil || errors.Is(err, errQuiet)) && out.err != nil {
		err = &exitError{max(exitCode(err), exitUsage), fmt.Errorf("print the result: %w", out.err)}
	}
	code := exitCode(err)
	if err == nil || errors.Is(err, errQuiet) {
		return code
	}
	text := errorLine(err)
	if a.jsonLogs {
		say(a.stderr, true, slog.LevelError, text, "exit_code", code)
	} else {
		say(a.stderr, false, slog.LevelError, "haloingest: "+text)
	}
	if a.json && !a.printed {
		// The result of a command that has none: a script reads one JSON value from stdout, always.
		value, _ := json.Marshal(map[string]any{"error": text, "exit_code": code})
		fmt.Fprintf(out, "%s\n", value)
	}
	return code
}

// errorLine says in one line what is wrong and, where that is known, what to do.
func errorLine(err error) string {
	text := err.Error()
	var api *intercom.Error
	if errors.As(err, &api) && api.Hint != "" && !strings.Contains(text, api.Hint) {
		text += "; " + api.Hint
	}
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// keptWriter passes on what is printed and keeps the first error, so that a result that did not get out
// is no success.
type keptWriter struct {
	w   io.Writer
	err error
}

func (k *keptWriter) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if err != nil && k.err == nil {
		k.err = err
	}
	return n, err
}

// unwritten reports whether something that was printed did not get out.
func (a *app) unwritten() bool {
	k, ok := a.stdout.(*keptWriter)
	return ok && k.err != nil
}
