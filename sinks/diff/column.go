package diff

import (
	"slices"
	"strconv"
	"time"

	"haloingest/pipeline/record"
)

// ColumnKind says what a column's values are texts of; see Value.
type ColumnKind uint8

const (
	TextColumn ColumnKind = iota
	TimeColumn
	IntColumn
	BoolColumn
	JSONColumn
	ListColumn // texts
	UUIDColumn
	HashColumn // content_hash, in hexadecimal
)

// ColumnSpec is a column of a table and how it is compared.
type ColumnSpec struct {
	Name string
	Kind ColumnKind
	// Rules are the names of the rules by which a cell may be equal without being the same; see Rules.
	Rules []string
}

// Skipped is a column that is not compared.
type Skipped struct{ Name, Why string }

// Tables say, for each entity, which columns are compared as values, which as links, and which are not.
var tables = map[string]struct {
	values  []ColumnSpec
	links   []string
	skipped []Skipped
}{
	"companies": {
		values: columns("external_id text filled; source text; name text filled; domain text filled; industry text filled; plan text filled; "+
			"employee_count int filled; signed_up_at time filled; custom_fields json keys-stay; context json keys-stay; last_request_at time; ", person),
		skipped: skipped(),
	},
	"end_users": {
		values: columns("external_id text filled; source text; name text filled; email text filled; avatar text filled; role text filled; "+
			"signed_up_at time filled; custom_fields json keys-stay; context json keys-stay; source_company_ids list; ", person),
		links:   []string{"company_id"},
		skipped: skipped(Skipped{"first_seen", whyActivity}, Skipped{"last_seen", whyActivity}, Skipped{"last_contacted_at", whyActivity}),
	},
	"transcripts": {
		values: columns("source_contact_id text; source_company_id text; session_id text; subject text; messages json messages-kept; "+
			"message_count int messages-kept; expected_message_count int; complete bool messages-kept; status text; outcome text; started_at time; "+
			"ended_at time; metadata json; source_id text; source_updated_at time; content_hash hash messages-kept", ""),
		links:   []string{"end_user_id", "company_id"},
		skipped: skipped(Skipped{"knowledge_hash", "says whether the knowledge is up to date; the knowledge itself is compared"}),
	},
	"tickets": {
		values: columns("source_contact_id text; source_company_id text; source_conversation_id text; ticket_number text; subject text; message text; "+
			"status text; priority text; category text; assignee text; messages json; resolved_at time; metadata json; ", object),
		links:   []string{"end_user_id", "company_id", "transcript_id"},
		skipped: skipped(),
	},
	"knowledge": {
		values:  columns("key text; kind text; parent_id uuid; chunk_index int; title text; content text; source_message_ids list; metadata json; ", object),
		links:   []string{"end_user_id", "company_id", "transcript_id"},
		skipped: skipped(Skipped{"embedding", "made from content by a model, whose answers may differ"}),
	},
}

const (
	object = "source_id text; source_updated_at time; content_hash hash"
	person = "source_id text other-shown; source_updated_at time other-shown; content_hash hash other-shown"

	whyActivity = "an activity stamp: written when the row is made and Halo's own from then on"
)

func skipped(more ...Skipped) []Skipped {
	return append([]Skipped{
		{"id", "follows from the organisation and the object's id; a row with another one counts as extra"},
		{"run_id", "names the run that wrote the row last"},
		{"created_at", "when the row was made; for Halo's own rows Halo's"},
		{"updated_at", "when the state was read; takes part in the order of states"},
		{"deleted_at", "decides whether the object counts as there, not what it is"},
	}, more...)
}

// columns reads "name kind rule; ...".
func columns(list, tail string) []ColumnSpec {
	kinds := map[string]ColumnKind{"text": TextColumn, "time": TimeColumn, "int": IntColumn, "bool": BoolColumn, "json": JSONColumn,
		"list": ListColumn, "uuid": UUIDColumn, "hash": HashColumn}
	var specs []ColumnSpec
	for _, entry := range splitTrim(list+tail, ";") {
		words := splitTrim(entry, " ")
		spec := ColumnSpec{Name: words[0], Kind: kinds[words[1]], Rules: words[2:]}
		if tail == person && spec.Name != "source" && spec.Name != "source_company_ids" && spec.Name != "last_request_at" &&
			!slices.Contains(spec.Rules, RuleOtherShown) {
			spec.Rules = append(slices.Clip(spec.Rules), RuleOtherShown)
		}
		specs = append(specs, spec)
	}
	return specs
}

// Columns are the columns of an entity that are compared by value, in the order of Row.Values. Names are the table's, but for the
// Intercom ids behind links: source_company_ids of a contact, last_request_at of a company (both in ingest.id_map) and
// source_conversation_id of a ticket (of the transcript that it names or waits for).
func Columns(entity string) []ColumnSpec { return slices.Clone(tables[entity].values) }

// LinkColumns are the columns that are compared with what the identity map says.
func LinkColumns(entity string) []string { return slices.Clone(tables[entity].links) }

// NotCompared are the columns that are not compared, each with the reason.
func NotCompared(entity string) []Skipped { return slices.Clone(tables[entity].skipped) }

// Rows are the object's rows, made from its Change if it has no others.
func (o *Object) rows(entity string) []Row {
	if o.Rows != nil {
		return o.Rows
	}
	c := &o.Change
	switch {
	case entity == "knowledge":
		rows := make([]Row, len(c.Knowledge))
		for i := range c.Knowledge {
			rows[i] = Row{ID: c.Knowledge[i].ID, Values: knowledgeValues(&c.Knowledge[i])}
		}
		return rows
	case c.EndUser != nil:
		return []Row{{c.EndUser.ID, endUserValues(c.EndUser)}}
	case c.Company != nil:
		return []Row{{c.Company.ID, companyValues(c.Company)}}
	case c.Transcript != nil:
		return []Row{{c.Transcript.ID, transcriptValues(c.Transcript)}}
	case c.Ticket != nil:
		return []Row{{c.Ticket.ID, ticketValues(c.Ticket)}}
	}
	return nil
}

func text(s string) Value { return Value{true, s} }

// orNull is how the loader writes a text: NULL where it is empty.
func orNull(s string) Value { return Value{s != "", s} } // of NULL the text is empty, too

func number(n int) Value { return Value{true, strconv.Itoa(n)} }

func instant(t time.Time) Value {
	if t.IsZero() {
		return Value{}
	}
	return Value{true, strconv.FormatInt(t.UnixMicro(), 10)}
}

// document is how the loader writes JSON: the column's default where there is none.
func document(raw []byte, none string) Value {
	if len(raw) == 0 {
		return Value{true, none}
	}
	return Value{true, string(raw)}
}

// Texts is the Value of a list of texts.
func Texts(list []string) Value {
	b := []byte{'['}
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = record.AppendString(b, s)
	}
	return Value{true, string(append(b, ']'))}
}

func headValues(h *record.Head) []Value {
	return []Value{text(h.SourceID), instant(h.SourceUpdatedAt), text(h.Hash.String())}
}

const sourceName = "intercom"

func endUserValues(r *record.EndUserRow) []Value {
	return append([]Value{orNull(r.ExternalID), text(sourceName), orNull(r.Name), orNull(r.Email), orNull(r.Avatar), orNull(r.Role),
		instant(r.SignedUpAt), document(r.CustomFields, "{}"), document(r.Context, "{}"), Texts(r.Companies)}, headValues(&r.Head)...)
}

func companyValues(r *record.CompanyRow) []Value {
	var employees Value
	if r.EmployeeCount != 0 {
		employees = number(r.EmployeeCount)
	}
	return append([]Value{orNull(r.ExternalID), text(sourceName), orNull(r.Name), orNull(r.Domain), orNull(r.Industry), orNull(r.Plan), employees,
		instant(r.SignedUpAt), document(r.CustomFields, "{}"), document(r.Context, "{}"), instant(r.LastRequestAt)}, headValues(&r.Head)...)
}

func transcriptValues(r *record.TranscriptRow) []Value {
	return append([]Value{orNull(r.ContactID), orNull(r.CompanyID), orNull(r.SessionID), orNull(r.Subject), document(r.MessagesJSON, "[]"),
		number(r.MessageCount), number(r.ExpectedMessageCount), text(strconv.FormatBool(r.Complete)), orNull(r.Status), orNull(r.Outcome),
		instant(r.StartedAt), instant(r.EndedAt), document(r.Metadata, "{}")}, headValues(&r.Head)...)
}

func ticketValues(r *record.TicketRow) []Value {
	return append([]Value{orNull(r.ContactID), orNull(r.CompanyID), orNull(r.ConversationID), orNull(r.Number), orNull(r.Subject), orNull(r.Message),
		orNull(r.Status), orNull(r.Priority), orNull(r.Category), orNull(r.Assignee), document(r.MessagesJSON, "[]"), instant(r.ResolvedAt),
		document(r.Metadata, "{}")}, headValues(&r.Head)...)
}

func knowledgeValues(r *record.KnowledgeRow) []Value {
	var parent Value
	if !r.ParentID.IsZero() {
		parent = text(r.ParentID.String())
	}
	return []Value{text(r.Key), text(r.Kind), parent, number(r.ChunkIndex), orNull(r.Title), text(r.Content), Texts(r.SourceMessageIDs),
		document(r.Metadata, "{}"), text(r.SourceID), instant(r.SourceUpdatedAt), text(r.Hash.String())}
}
