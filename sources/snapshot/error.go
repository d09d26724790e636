package snapshot

import (
	"errors"
	"fmt"
	"strings"

	"haloingest/pipeline/record"
)

// ErrNoSnapshot is wrapped where there is none: no such folder, or a folder without a manifest.
var ErrNoSnapshot = errors.New("no snapshot")

// OrgError says that the snapshot is not of the organisation that was asked for, or of several and none was named.
type OrgError struct {
	Location string
	Asked    record.UUID // zero: none was named
	Held     []record.UUID
}

func (e *OrgError) Error() string {
	list := make([]string, len(e.Held))
	for i, org := range e.Held {
		list[i] = org.String()
	}
	if e.Asked.IsZero() {
		return fmt.Sprintf("snapshot %s holds %d organisations, name one of them: %s", e.Location, len(e.Held), strings.Join(list, ", "))
	}
	return fmt.Sprintf("snapshot %s holds nothing of organisation %s; it is of %s", e.Location, e.Asked, strings.Join(list, ", "))
}

// RunError says that the snapshot has no such run.
type RunError struct {
	Location string
	Asked    string
	Held     []record.UUID
}

func (e *RunError) Error() string {
	list := make([]string, len(e.Held))
	for i, run := range e.Held {
		list[i] = run.String()
	}
	return fmt.Sprintf("snapshot %s has no run %q; it has %s", e.Location, e.Asked, strings.Join(list, ", "))
}

// VersionError says that a newer program has written the snapshot.
type VersionError struct {
	File        string
	What        string // manifest, schema or digest
	Have, Known int
}

func (e *VersionError) Error() string {
	if e.Have < e.Known {
		return fmt.Sprintf("%s has %s version %d, this program needs %d; make the snapshot anew, or replay it with --remap", e.File, e.What, e.Have, e.Known)
	}
	return fmt.Sprintf("%s has %s version %d, this program knows %d; use a newer haloingest", e.File, e.What, e.Have, e.Known)
}

// CorruptError says that a file of the snapshot is not what was written.
type CorruptError struct {
	File string
	What string // a phrase that follows the file's name: "is missing", "has 10 bytes, ..."
	Err  error  // nil where What says it all
}

func (e *CorruptError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s %s: %v", e.File, e.What, e.Err)
	}
	return e.File + " " + e.What
}

func (e *CorruptError) Unwrap() error { return e.Err }

func corrupt(file, format string, args ...any) error {
	return &CorruptError{File: file, What: fmt.Sprintf(format, args...)}
}
