package diff

import (
	"time"

	"haloingest/pipeline/record"
)

// Level says how much is compared.
type Level string

const (
	LevelCount Level = "count" // totals only
	LevelFast  Level = "fast"  // stored content hashes, or what a listing tells: finds what a loader missed, not what was changed afterwards
	LevelFull  Level = "full"  // every mapped column, hashed anew
)

// Entities are compared one by one, in this order. The first four are the tables of objects, keyed by Intercom's id; the
// knowledge of a conversation is keyed by the conversation's and compared row by row when it differs.
var Entities = [...]string{"companies", "end_users", "transcripts", "tickets", "knowledge"}

// Class of an object that is not simply equal.
type Class string

const (
	Missing    Class = "missing"    // on the left, not on the right
	Extra      Class = "extra"      // on the right, not on the left
	Changed    Class = "changed"    // on both, different
	InFlight   Class = "in_flight"  // it moved while it was compared, or since the left side was made, and that is all that differs
	Unresolved Class = "unresolved" // it kept moving, or could not be read again
	Rejected   Class = "rejected"   // on one side, kept as a reject on the other; or it cannot be mapped
	Excluded   Class = "excluded"   // by a named rule, e.g. "merged into another contact"
)

// Verdict of a diff, and its exit code.
type Verdict string

const (
	VerdictEqual      Verdict = "equal"      // 0
	VerdictDifferent  Verdict = "different"  // 1
	VerdictUnverified Verdict = "unverified" // 3: no confirmed difference, but something could not be verified
	VerdictPartial    Verdict = "partial"    // 130: interrupted, what was compared is good
	VerdictBroken     Verdict = "broken"     // 4: the totals do not add up
)

// Counts are the terms of the conservation law of one entity:
//
//	Source = Matched + Changed + Missing + Rejected + Excluded + InFlight + Unresolved
//	Target = Matched + Changed + Extra + RejectedTarget + ExcludedTarget + InFlightTarget + UnresolvedTarget
//
// where an object that is in flight or unresolved counts on each side on which it was when the sides were read. Objects that are gone
// on a side do not count on it. Of knowledge the objects are conversations that have any.
type Counts struct {
	Source           int64            `json:"source"`
	Target           int64            `json:"target"`
	Matched          int64            `json:"matched"`
	ByRule           int64            `json:"matched_by_rule"` // part of Matched: equal through a named rule only
	Changed          int64            `json:"changed"`
	Missing          int64            `json:"missing"`
	Extra            int64            `json:"extra"`
	InFlight         int64            `json:"in_flight"`
	InFlightTarget   int64            `json:"in_flight_target"`
	Converged        int64            `json:"converged"`  // of the objects in flight: equal, or gone from both sides, in the end
	Unverified       int64            `json:"unverified"` // objects in flight that did not converge, and unresolved ones
	Unresolved       int64            `json:"unresolved"`
	UnresolvedTarget int64            `json:"unresolved_target"`
	Rejected         map[string]int64 `json:"rejected"` // by reason
	Excluded         map[string]int64 `json:"excluded"` // by rule
	// Of the right side's objects: what the left side keeps as a reject, or leaves out, as where the database is on the left.
	RejectedTarget map[string]int64 `json:"rejected_target,omitempty"`
	ExcludedTarget map[string]int64 `json:"excluded_target,omitempty"`
}

// Tally is what was read of one side, counted where it comes in, and what became of it. It is kept apart from Counts, which are made
// where objects are compared, and has to agree with them:
//
//	Read = Folded + Superseded + Gone + Marks + Empty + (Source or Target of Counts)
type Tally struct {
	Read       int64 `json:"read"`       // fingerprints
	Rows       int64 `json:"rows"`       // rows that they stand for, of knowledge several each
	Folded     int64 `json:"folded"`     // further parts of the same object
	Superseded int64 `json:"superseded"` // older states of an object, or the same one once more
	Gone       int64 `json:"gone"`       // objects that are not there any more
	Marks      int64 `json:"marks"`      // no objects
	Empty      int64 `json:"empty"`      // conversations without knowledge
}

// Column is what was found of one column of an entity. Columns of objects that were equal as a whole count as equal, of knowledge for each row.
type Column struct {
	Name        string           `json:"name"`
	Compared    int64            `json:"compared"`
	Equal       int64            `json:"equal"`
	EqualByRule map[string]int64 `json:"equal_by_rule"` // by rule
	Different   int64            `json:"different"`
	NotCompared string           `json:"not_compared,omitempty"` // why not
}

// Cell is one column of one object that differs. Left and Right are what the report shows: a text such as
// "text of 12 characters, 5f3a9c01" unless values were asked for.
type Cell struct {
	Column string `json:"column"`
	Path   string `json:"path,omitempty"` // of a document: where the first difference is
	Left   string `json:"left"`
	Right  string `json:"right"`
}

// Finding is one object that is not simply equal. Changed knowledge has one finding for each row at fault; otherwise there are as many findings of a
// class as Counts says.
type Finding struct {
	Entity    string    `json:"entity"`
	SourceID  string    `json:"source_id"`
	RowID     string    `json:"row_id,omitempty"` // of knowledge: the row at fault; of others: a row that no object is bound to
	Class     Class     `json:"class"`
	Cause     string    `json:"cause,omitempty"` // a sentence: "changed after the watermark", "not in the database", "cut by Intercom at 500 parts", ...
	Rounds    int       `json:"rounds,omitempty"`
	LeftAt    time.Time `json:"left_updated_at,omitzero"`
	RightAt   time.Time `json:"right_updated_at,omitzero"`
	Cells     []Cell    `json:"cells,omitempty"`
	Converged bool      `json:"converged,omitempty"` // InFlight: both sides were equal in the end
}

// Entity is the result for one entity.
type Entity struct {
	Name    string   `json:"name"`
	Counts  Counts   `json:"counts"`
	Left    Tally    `json:"left"`
	Right   Tally    `json:"right"`
	Columns []Column `json:"columns"`
	Partial bool     `json:"partial,omitempty"` // interrupted: Counts are of what was compared, and do not add up to what was read
	// Samples are at most 20 findings of each class, those with the least hashed key, so that two runs show the same ones.
	Samples []Finding     `json:"samples"`
	Elapsed time.Duration `json:"elapsed_ns"`
}

// Check is a total that was counted in a second way.
type Check struct {
	Name   string `json:"name"` // e.g. "conversations by Intercom's own count"
	Want   int64  `json:"want"`
	Got    int64  `json:"got"`
	Detail string `json:"detail,omitempty"`
}

// ReportVersion is the version of Report's JSON.
const ReportVersion = 1

// Report is what a diff found. The findings themselves are streamed beside it.
type Report struct {
	Version    int         `json:"version"`
	ID         record.UUID `json:"id"`
	Org        record.UUID `json:"org"`
	Left       string      `json:"left"` // intercom, postgres, snapshot:DIR
	Right      string      `json:"right"`
	Level      Level       `json:"level"`
	Only       []string    `json:"only,omitempty"` // streams; empty: all
	Watermark  time.Time   `json:"watermark"`
	StartedAt  time.Time   `json:"started_at"`
	FinishedAt time.Time   `json:"finished_at"`
	Verdict    Verdict     `json:"verdict"`
	Sentence   string      `json:"sentence"` // the verdict for a person: "SAFE TO DISCONNECT", "NOT SAFE: 50 missing, 50 changed (email 50), 3 unverified"
	Notes      []string    `json:"notes,omitempty"`
	Entities   []Entity    `json:"entities"`
	Checks     []Check     `json:"checks,omitempty"`
	Requests   int64       `json:"requests"` // asked of Intercom
	BytesRead  int64       `json:"bytes_read"`
	PeakSpill  int64       `json:"peak_spill_bytes"`
	ShowValues bool        `json:"show_values"`
}
