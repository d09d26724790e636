package halo

import (
	"strings"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// layout says how an entity's rows are read: which fields a query has, and which of them make the hash and the values.
type layout struct {
	entity string
	kind   record.Kind
	person bool     // goes through ingest.id_map
	fields []string // SQL expressions, the fixed ones first
	from   string   // FROM with its joins
	where  string   // of all rows, where {org} stands for the organisation
	specs  []diff.ColumnSpec
	at     []int // field of each of specs
	source int   // index in specs of the column source; -1 if there is none
}

// Fields that every query begins with. Of people the state is that of the identity map.
const (
	fieldID      = iota // the row's
	fieldKey            // the object's
	fieldUpdated        // the state's version
	fieldFetched
	fieldDeleted // when the object went; NULL: it is there
	fieldHash    // as stored
	fixedFields
)

// Further fixed fields of people, as the row itself has them.
const (
	fieldShown        = fixedFields + iota // the contact or company that the row shows
	fieldShownUpdated                      // of its state
	fieldShownHash
	fieldRowDeleted
	fieldNative
	fieldOthers // another object on the row is there; asked only where this one is gone and the row is not
	fieldHeir   // another object on the row is to be loaded again, to be shown; asked only where the row shows an older state of this one
	peopleFields
)

// fieldTranscript is the one further fixed field of knowledge: the transcript that it is of.
const fieldTranscript = fixedFields

func layouts() map[string]*layout {
	m := make(map[string]*layout)
	for _, entity := range diff.Entities {
		m[entity] = newLayout(entity)
	}
	return m
}

func newLayout(entity string) *layout {
	l := &layout{entity: entity, kind: diff.Kind(entity), specs: diff.Columns(entity), source: -1}
	l.person = l.kind == record.KindContact || l.kind == record.KindCompany
	named := map[string]string{}
	switch {
	case l.person:
		l.fields = []string{"e.id", "m.source_id", "m.source_updated_at", "m.fetched_at", "m.deleted_at", "m.content_hash",
			"e.source_id", "e.source_updated_at", "e.content_hash", "e.deleted_at", "m.native", othersSQL, heirSQL}
		named["source_company_ids"], named["last_request_at"] = "m.companies", "m.last_request_at"
		l.from = ` FROM ingest.id_map m JOIN public.` + entity + ` e ON e.org_id = m.org_id AND e.id = m.row_id`
		l.where = ` WHERE m.org_id = {org} AND m.kind = '` + string(l.kind) + `'`
	case entity == "knowledge":
		l.fields = []string{"e.id", "e.source_id", "e.source_updated_at", "NULL::timestamptz", "e.deleted_at", "e.content_hash", "e.transcript_id"}
		l.from, l.where = ` FROM public.knowledge e`, ` WHERE e.org_id = {org}`
	default:
		l.fields = []string{"e.id", "e.source_id", "e.source_updated_at", "e.updated_at", "e.deleted_at", "e.content_hash"}
		l.from, l.where = ` FROM public.`+entity+` e`, ` WHERE e.org_id = {org}`
	}
	if entity == "tickets" {
		// A ticket that is also a conversation has it as its link, or waits for it.
		named["source_conversation_id"] = "coalesce(c.source_id, w.ref_id)"
		l.from = ` FROM public.tickets e
			LEFT JOIN public.transcripts c ON c.org_id = e.org_id AND c.id = e.transcript_id
			LEFT JOIN ingest.pending_links w ON w.org_id = e.org_id AND w.table_name = 'tickets' AND w.row_id = e.id AND w.ref_kind = 'conversation'
				AND e.transcript_id IS NULL`
	}
	fixed := map[string]int{"source_id": fieldKey, "source_updated_at": fieldUpdated, "content_hash": fieldHash}
	if l.person {
		fixed = map[string]int{"source_id": fieldShown, "source_updated_at": fieldShownUpdated, "content_hash": fieldShownHash}
	}
	for i, spec := range l.specs {
		if spec.Name == "source" {
			l.source = i
		}
		if at, ok := fixed[spec.Name]; ok {
			l.at = append(l.at, at)
			continue
		}
		expr := named[spec.Name]
		if expr == "" {
			expr = "e." + spec.Name
		}
		l.at = append(l.at, len(l.fields))
		l.fields = append(l.fields, expr)
	}
	return l
}

const othersSQL = `m.deleted_at IS NOT NULL AND e.deleted_at IS NULL AND EXISTS (SELECT FROM ingest.id_map o
	WHERE o.org_id = m.org_id AND o.row_id = m.row_id AND o.kind = m.kind AND o.source_id <> m.source_id AND o.deleted_at IS NULL)`

const heirSQL = `m.source_id = e.source_id AND m.content_hash <> e.content_hash AND EXISTS (SELECT FROM ingest.id_map o
	WHERE o.org_id = m.org_id AND o.row_id = m.row_id AND o.kind = m.kind AND o.source_id <> m.source_id AND o.content_hash IS NULL)`

// fixed is how many fields say what the row is, rather than what is in it.
func (l *layout) fixed() int {
	switch {
	case l.person:
		return peopleFields
	case l.entity == "knowledge":
		return fixedFields + 1
	}
	return fixedFields
}

// query is a SELECT of all rows: of the fixed fields, or of all. org is an SQL expression.
func (l *layout) query(full bool, org string) string {
	fields := l.fields
	if !full {
		fields = fields[:l.fixed()]
	}
	return "SELECT " + strings.Join(fields, ", ") + l.from + strings.ReplaceAll(l.where, "{org}", org)
}

// rowHasher makes content hashes. Not safe for concurrent use.
type rowHasher struct {
	encoder   record.Encoder
	canonical canonical
	document  []byte
	namer     record.Namer
	org       record.UUID
	lastKey   []byte // of knowledge: the conversation seen last, and its row
	lastRow   record.UUID
}

// hash makes the content hash of a row, as the Seal function of its type in haloingest/pipeline/record does: the table's name, source_id,
// source_updated_at, and the values in the order of diff.Columns, which is the struct's. A row whose column source is not this
// program's name has one that no object has.
func (h *rowHasher) hash(l *layout, fields [][]byte) record.Digest {
	e := &h.encoder
	e.Reset(l.entity)
	n := len(l.specs)
	h.encode(diff.TextColumn, fields[l.at[n-3]])
	h.encode(diff.TimeColumn, fields[l.at[n-2]])
	for i := range n - 3 {
		raw := fields[l.at[i]]
		if i == l.source {
			if string(raw) != sourceName {
				e.Null()
				e.TextBytes(raw)
			}
			continue
		}
		h.encode(l.specs[i].Kind, raw)
	}
	return e.Sum()
}

const sourceName = "intercom"

// unsealed is the hash of a row whose stored hash is not that of its values: it is equal to no object's.
func unsealed(d record.Digest) record.Digest {
	for i := range d {
		d[i] = ^d[i]
	}
	return d
}

// conversationRow is the id of the transcript of a conversation. Rows of knowledge of one conversation mostly come together.
func (h *rowHasher) conversationRow(sourceID []byte) record.UUID {
	if h.lastRow.IsZero() || string(h.lastKey) != string(sourceID) {
		h.lastKey = append(h.lastKey[:0], sourceID...)
		h.lastRow = h.namer.Row(h.org, record.KindConversation, sourceID)
	}
	return h.lastRow
}
