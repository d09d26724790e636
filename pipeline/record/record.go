// Package record holds the nouns of the program: what Intercom sends (Object, and Contact, Company,
// Conversation, Ticket decoded from it), what Halo keeps (EndUserRow, CompanyRow, TranscriptRow,
// TicketRow, KnowledgeRow), the ids that connect them, and the canonical digest by which two
// versions of a row are told apart. It depends on the standard library only and does no I/O.
//
// Conventions: a zero time.Time is an absent time and becomes NULL; an empty string in a nullable
// column becomes NULL; times are UTC and have at most microsecond precision; JSON held as
// json.RawMessage is canonical (see CanonicalJSON) and holds no NUL, so PostgreSQL takes it as jsonb.
package record

import (
	"cmp"
	"encoding/json"
	"time"
)

// Kind is a kind of Intercom object.
type Kind string

const (
	KindContact      Kind = "contact"
	KindCompany      Kind = "company"
	KindConversation Kind = "conversation"
	KindTicket       Kind = "ticket"
)

// Kinds lists all kinds in the order in which a backfill reads them: what is referred to comes first.
var Kinds = [...]Kind{KindCompany, KindContact, KindConversation, KindTicket}

// Stream is the plural by which a kind is named on the command line and in checkpoints.
func (k Kind) Stream() string {
	switch k {
	case KindCompany:
		return "companies"
	default:
		return string(k) + "s"
	}
}

// Table is Halo's table for the kind.
func (k Kind) Table() string {
	switch k {
	case KindContact:
		return "end_users"
	case KindCompany:
		return "companies"
	case KindConversation:
		return "transcripts"
	default:
		return "tickets"
	}
}

// Object is one API object exactly as Intercom sent it, or word that it is gone.
type Object struct {
	Kind       Kind
	ID         string    // Intercom's id; "" if it has none that can be read
	Body       []byte    // raw JSON, not to be changed; may be empty when Gone is set
	FetchedAt  time.Time // when the response arrived
	Request    string    // method and path, e.g. "GET /conversations/123"
	APIVersion string    // the Intercom-Version asked for
	Gone       Gone
	GoneAt     time.Time // when it went, where Intercom says so
	MergedInto string    // the surviving contact's id when Gone is GoneMerged
}

// Gone says why an object is not there any more. The empty value means that it is there.
type Gone string

const (
	GoneDeleted Gone = "deleted"
	GoneMerged  Gone = "merged"
)

// Version orders the states of one object: the later state wins. UpdatedAt is Intercom's updated_at,
// or for a tombstone the time at which the object went (when it was found gone, if Intercom does not
// say); where two states have the same, the one fetched later wins, then the higher Rank (a tombstone
// has 1). So a late delivery of an old state resurrects nothing.
type Version struct {
	UpdatedAt time.Time
	FetchedAt time.Time
	Rank      int
}

// Compare returns -1, 0 or +1 as v is older than, equal to or newer than w.
func (v Version) Compare(w Version) int {
	if c := v.UpdatedAt.Compare(w.UpdatedAt); c != 0 {
		return c
	}
	if c := v.FetchedAt.Compare(w.FetchedAt); c != 0 {
		return c
	}
	return cmp.Compare(v.Rank, w.Rank)
}

// Ends reports whether a tombstone of version v ends a state of version w: if the object went after the state was, or was found gone by a
// read no earlier than the state's own. The second holds whatever updated_at says: Intercom's clock may be ahead of the one
// that dates the finding. A state that was read later and is newer as well has not ended.
func (v Version) Ends(w Version) bool {
	return v.UpdatedAt.After(w.UpdatedAt) || !v.FetchedAt.Before(w.FetchedAt)
}

// Supersedes reports whether c is to be kept, of c and an earlier change o of the same object.
func (c *Change) Supersedes(o *Change) bool {
	switch gone := c.Gone != nil; {
	case gone == (o.Gone != nil):
		return c.Version.Compare(o.Version) >= 0
	case gone:
		return c.Version.Ends(o.Version)
	default:
		return !o.Version.Ends(c.Version)
	}
}

// Item is an object after extraction: exactly one of the four is set, none when Object.Gone is.
type Item struct {
	Object       *Object
	Contact      *Contact
	Company      *Company
	Conversation *Conversation
	Ticket       *Ticket
}

// Change is what one object means for Halo's tables: exactly one of the rows is set, or Gone.
// Links between rows (end_user_id, company_id, transcript_id) are decided by the sink inside its
// transaction, from the Refs, because only there is the state of the identity map exact.
type Change struct {
	Kind     Kind
	SourceID string
	Version  Version

	EndUser    *EndUserRow
	Company    *CompanyRow
	Transcript *TranscriptRow
	Ticket     *TicketRow
	Gone       *Tombstone

	Knowledge []KnowledgeRow // of Transcript, complete; nil for the other kinds

	Object *Object // what came; kept for rejects and the snapshot
}

// Tombstone says that an object is gone at the source.
type Tombstone struct {
	Why        Gone
	At         time.Time // zero if Intercom does not say
	MergedInto string    // Intercom id of the survivor, for GoneMerged
}

// Ref names another Intercom object by id.
type Ref struct {
	ID string
	// ExternalID is the customer's own id for the object where Intercom repeats it beside the id.
	ExternalID string
}

// Named is an Intercom object that is only a name to us: a tag, a team, a segment.
type Named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Reference names what objects only number. It is read once per run, before the streams, and is
// part of what a snapshot keeps. Maps are keyed by Intercom id; nil maps are fine to read.
type Reference struct {
	Workspace    Workspace                  `json:"workspace"`
	Admins       map[string]Admin           `json:"admins"`
	Teams        map[string]string          `json:"teams"`
	Tags         map[string]string          `json:"tags"`
	Segments     map[string]string          `json:"segments"`
	TicketTypes  map[string]string          `json:"ticket_types"`
	TicketStates map[string]TicketState     `json:"ticket_states"`
	Attributes   map[string]json.RawMessage `json:"attributes,omitempty"` // by "model.full_name"
}

// Admin is a teammate of the workspace.
type Admin struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

// TicketState is one of the workspace's ticket states.
type TicketState struct {
	Category      string `json:"category"` // submitted, in_progress, waiting_on_customer, resolved
	InternalLabel string `json:"internal_label"`
	ExternalLabel string `json:"external_label"`
}

// Workspace is what GET /me says of the workspace behind a token (fact sheet, section 3).
type Workspace struct {
	ID       string `json:"id"` // app.id_code
	Name     string `json:"name"`
	Region   string `json:"region"` // us, eu or au
	Timezone string `json:"timezone"`
}
