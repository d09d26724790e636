// Package cutover is the checklist of a migration: what has to be true before Intercom is disconnected, how it is known, how old each
// proof is, and what to do about what is not true. It reads the database only, and changes nothing.
//
// Look gathers the evidence, Judge makes the checklist of it without looking at anything else, and the writers of this package show
// the checklist to people and programs.
package cutover

import (
	"time"

	"haloingest/pipeline/record"
)

// Defaults of Options.
const (
	DefaultMaxSyncAge = 2 * time.Hour
	DefaultMaxDiffAge = 24 * time.Hour
)

// Options says what is asked for. The zero value works.
type Options struct {
	MaxSyncAge        time.Duration // of the last complete sync; 0: DefaultMaxSyncAge
	MaxDiffAge        time.Duration // of the diff; 0: DefaultMaxDiffAge
	AttachmentsWanted bool          // even if no run was ever asked to save them
	AcceptUnsaved     int64         // so many wanted files may be missing: whoever asks has looked at them
	Program           string        // name and version, for the report
}

func (o Options) withDefaults() Options {
	if o.MaxSyncAge <= 0 {
		o.MaxSyncAge = DefaultMaxSyncAge
	}
	if o.MaxDiffAge <= 0 {
		o.MaxDiffAge = DefaultMaxDiffAge
	}
	return o
}

// Status of an item.
type Status string

const (
	Pass    Status = "PASS"
	Warn    Status = "WARN" // worth knowing; it does not stand in the way
	Fail    Status = "FAIL"
	Unknown Status = "UNKNOWN" // it could not be looked at
)

// Keys of the items, in the order of the checklist.
const (
	Connected     = "connected"
	Backfill      = "backfill"
	Running       = "running"
	SyncFresh     = "sync"
	Webhooks      = "webhooks"
	Rejects       = "rejects"
	Conversations = "conversations"
	Links         = "links"
	Attachments   = "attachments"
	Snapshot      = "snapshot"
	Diff          = "diff"
)

// titles are what people call the items.
var titles = []struct{ key, title string }{
	{Connected, "Connected"},
	{Backfill, "Backfill complete"},
	{Running, "Nothing under way"},
	{SyncFresh, "Sync fresh"},
	{Webhooks, "Webhooks worked off"},
	{Rejects, "No open rejects"},
	{Conversations, "Every conversation complete or explained"},
	{Links, "Every link made"},
	{Attachments, "Attachments inventoried"},
	{Snapshot, "Snapshot kept"},
	{Diff, "Diff equal"},
}

// Item is one line of the checklist.
type Item struct {
	Key      string   `json:"key"`
	Title    string   `json:"title"`
	Status   Status   `json:"status"`
	Evidence string   `json:"evidence"`          // sentences, in figures
	Details  []string `json:"details,omitempty"` // what the evidence is made of, one thing each
	// ProofAt is of when the evidence is: of now, where the database was looked at, else the time of the sync or diff. Zero: there is none.
	ProofAt time.Time     `json:"proof_at,omitzero"`
	Age     time.Duration `json:"age_ns"`
	Advice  string        `json:"advice,omitempty"` // what to do
	Next    []string      `json:"next,omitempty"`   // commands that do it, in order
}

// Proof is a report of a diff that the checklist relies on.
type Proof struct {
	ID         record.UUID `json:"id"`
	Left       string      `json:"left"`
	Right      string      `json:"right"`
	Level      string      `json:"level"`
	Verdict    string      `json:"verdict"`
	Sentence   string      `json:"sentence"`
	StartedAt  time.Time   `json:"started_at"`
	FinishedAt time.Time   `json:"finished_at"`
	// SHA256 is of its report.json, hexadecimal; "" if the report shows values, which the database does not keep.
	SHA256 string `json:"report_sha256,omitempty"`
}

// Incomplete is a conversation of which Intercom has not given out all parts.
type Incomplete struct {
	SourceID string `json:"source_id"`
	Held     int64  `json:"held"`               // parts that Intercom gave
	Expected int64  `json:"expected,omitempty"` // parts that it counts; 0: it does not say
	Cut      bool   `json:"cut"`                // Intercom gives no more than 500 parts
}

// Version is the version of Checklist's JSON. It goes up when a field changes its meaning or goes away.
const Version = 1

// Checklist is the answer.
type Checklist struct {
	Version    int         `json:"version"`
	Program    string      `json:"program"`
	Org        record.UUID `json:"org"`
	Workspace  string      `json:"workspace"` // for people
	At         time.Time   `json:"at"`        // by the database's clock
	Safe       bool        `json:"safe"`
	ExitCode   int         `json:"exit_code"`
	Sentence   string      `json:"sentence"`
	MaxSyncAge string      `json:"max_sync_age"`
	MaxDiffAge string      `json:"max_diff_age"`
	Totals     []Total     `json:"totals"`
	Items      []Item      `json:"items"`
	Proofs     []Proof     `json:"proofs"`
	// Incomplete are the first 1,000 of the incomplete conversations, the unexplained ones first.
	Incomplete  []Incomplete `json:"incomplete"`
	Attachments Inventory    `json:"attachments"`
}

// Total counts the rows of one kind that come from Intercom.
type Total struct {
	Name    string `json:"name"`
	Live    int64  `json:"live"`
	Deleted int64  `json:"deleted"` // at the source
}

// Inventory sums the attachments up: Files = Saved + Failed + Unasked + Gone.
type Inventory struct {
	Wanted     bool  `json:"wanted"`
	Files      int64 `json:"files"`
	Saved      int64 `json:"saved"`
	SavedBytes int64 `json:"saved_bytes"`
	Failed     int64 `json:"failed"`  // asked for and not saved
	Unasked    int64 `json:"unasked"` // never asked for
	Gone       int64 `json:"gone"`    // not saved, and their conversation or ticket is deleted
	Bytes      int64 `json:"bytes"`   // of those that are neither saved nor gone, as far as Intercom states them
	// Causes are why files could not be saved, and of how many; the most frequent first, 20 at most.
	Causes []Cause `json:"causes,omitempty"`
}

// Cause is why files could not be saved.
type Cause struct {
	Error string `json:"error"`
	Files int64  `json:"files"`
}

// count returns how many items have a status.
func (c *Checklist) count(s Status) int {
	n := 0
	for _, item := range c.Items {
		if item.Status == s {
			n++
		}
	}
	return n
}
