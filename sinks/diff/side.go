package diff

import (
	"context"
	"iter"

	"haloingest/pipeline/record"
)

// Side is one side of a diff: the live workspace, a snapshot's rows, or the database. Its methods are called by one
// goroutine at a time; another side may be read meanwhile.
type Side interface {
	// Name is what the user called it: intercom, postgres, snapshot:DIR.
	Name() string
	// Fingerprints yields all objects of the entity, in any order, in batches that are valid until the next. An object may come
	// several times: the newest version counts (UpdatedAt, then FetchedAt, then a tombstone before a state, then what came last). Parts of
	// the knowledge of one version are added up. See record.Change.Fingerprint and KnowledgeFingerprint for what has a Change.
	Fingerprints(ctx context.Context, entity string, level Level) iter.Seq2[[]record.Fingerprint, error]
	// Fetch returns the present state of the named objects, in any order, for an explanation and for looking again; what is not there is
	// left out. A side that cannot change (a snapshot) returns what it has, in its newest version. At most FetchBatch ids are asked for at once.
	Fetch(ctx context.Context, entity string, ids []string) ([]Object, error)
	// Moves reports whether the side can change while it is compared.
	Moves() bool
}

// FetchBatch is the most ids that one Fetch is asked for.
const FetchBatch = 500

// A Side may also be a Lister, a Counter, a Noter or a Meter.
type (
	// Lister yields at LevelFast, for some entities, hashes of what a listing tells: of these columns. Of others they are the content hashes.
	Lister interface{ Listed(entity string) []string }
	// Counter counts the objects of an entity in a second way, independently of Fingerprints and of the same state: those that are live, of
	// knowledge the conversations that have any. An exact count must agree with what was read; another one is good for LevelCount only.
	Counter interface {
		Count(ctx context.Context, entity string) (n int64, exact bool, err error)
	}
	// Noter has something to say once all entities have been read, a sentence each.
	Noter interface{ Notes() []string }
	// Meter knows what reading has cost so far.
	Meter interface {
		Requests() int64
		BytesRead() int64
	}
)

// StrayPrefix begins the id under which a side yields a row that claims to be an object's but is not the one that the object is bound to:
// it is followed by the row's id. Such a row is extra whatever the other side has. Intercom's ids do not begin so.
const StrayPrefix = "row:"

// Object is one object with its values.
type Object struct {
	SourceID string // as it was asked for
	State    record.FingerprintState
	Version  record.Version // with a Rank only if it is that of a tombstone: word from the source that the object is gone
	// Change is the object as the stages made it: its row, or Gone. For knowledge its Knowledge counts and its Transcript need not be set. The database's
	// side has Rows instead.
	Change record.Change
	// Rows are the values as the columns hold them: one row, of knowledge as many as there are. nil: made from Change.
	Rows []Row
	// Fingerprint is what Fingerprints would yield of it now, at LevelFull and with the parts of its knowledge added up, by which it is
	// known whether it has changed. A side that has no Rows leaves it out: it is made from Change.
	Fingerprint record.Fingerprint
	// Links are columns that only the database decides, with what they should be by the database's own identity map and
	// what they are; nil on a side that has none.
	Links []Link
	// Shared says, on the side of the database, that the row is another program's as well, or shows several contacts: it may hold
	// more than the object says (contract, "Identity").
	Shared bool
	// Sealed says that the stored content hash is that of the values: what is there was written by this program and not changed since.
	Sealed bool
	// Note is a name or sentence: of the rule by which it is excluded, the reason of the reject, or what is the matter with it otherwise.
	Note string
}

// Row is one row with its values in the order of Columns(entity).
type Row struct {
	ID     record.UUID
	Values []Value
}

// Value is a value in the one form in which it is compared: a text byte for byte, a time as microseconds since 1970 in
// decimal, JSON as by record.CanonicalJSON, a list of texts as a JSON list, a boolean as true or false. The zero Value is NULL.
type Value struct {
	Valid bool // not NULL
	Text  string
}

// Link is one link of a row in the database, as it should be and as it is; "" is NULL. RowID is the row's, of knowledge.
type Link struct {
	RowID              record.UUID
	Column, Want, Have string
}

// Findings takes what a diff finds, one after the other while it goes on. left and right are the objects as they were read for the
// explanation, nil where there is none; they are not to be kept. There may be millions. An error ends the diff.
type Findings interface {
	Find(ctx context.Context, f Finding, left, right *Object) error
}

// FindingsFunc is a function that is Findings.
type FindingsFunc func(ctx context.Context, f Finding, left, right *Object) error

// Find calls the function.
func (f FindingsFunc) Find(ctx context.Context, x Finding, left, right *Object) error {
	return f(ctx, x, left, right)
}
