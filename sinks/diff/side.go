package diff

import (
	"context"
	"iter"
	"time"

	"haloingest/pipeline/record"
)

// Side is one side of a diff: the live workspace, a snapshot's rows, or the database. Its methods are called by one
// goroutine at a time.
type Side interface {
	// Name is what the user called it: intercom, postgres, snapshot:DIR.
	Name() string
	// Fingerprints yields all objects of the entity, in any order, in batches that are valid until the next. An object may come
	// several times: the newest version counts, and with the same version the parts of its knowledge are added up.
	Fingerprints(ctx context.Context, entity string, level Level) iter.Seq2[[]record.Fingerprint, error]
	// Fetch returns the present state of the named objects, for an explanation and for looking again; what is not there is left
	// out. A side that cannot change (a snapshot) returns what it has.
	Fetch(ctx context.Context, entity string, ids []string) ([]Object, error)
	// Moves reports whether the side can change while it is compared.
	Moves() bool
}

// Object is one object with its values.
type Object struct {
	SourceID  string
	State     record.FingerprintState
	Change    record.Change // the row; for knowledge: Change.Knowledge alone
	FetchedAt time.Time
	// Links are columns that only the database decides, by name, with what they should be by the database's own identity map and
	// what they are; nil on a side that has none.
	Links []Link
	// Shared says, on the side of the database, that the row is another program's as well, or shows several contacts: it may hold
	// more than the object says (contract, "Identity").
	Shared bool
	Note   string // e.g. why the object is excluded or rejected
}

// Link is one link of a row in the database, as it should be and as it is; "" is NULL.
type Link struct{ Column, Want, Have string }
