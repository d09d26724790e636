package compare

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// Action is what mends a finding.
type Action string

// Actions of a Repair. All of them begin with a read by id at Intercom; nothing is marked deleted that was not asked for.
const (
	Load        Action = "load"         // the database lacks it
	Rewrite     Action = "rewrite"      // it is there and not as it should be
	ConfirmGone Action = "confirm_gone" // the source lacks it: if a read confirms that, it is marked deleted
	Withdraw    Action = "withdraw"     // knowledge of a conversation that has none
)

// Repair is what would mend one object.
type Repair struct {
	Entity   string `json:"entity"`
	SourceID string `json:"source_id"`
	// RowID is a row that names the object and is not the one that the object is bound to: somebody else has made it.
	RowID  string `json:"row_id,omitempty"`
	Action Action `json:"action"`
	Why    string `json:"why"`
}

// Kind is the kind of object to be read.
func (r Repair) Kind() record.Kind { return diff.Kind(r.Entity) }

// Mendable reports whether a diff of the two sides finds what can be mended: one is the database, the other is not. It
// also says whether the database is the left one.
func Mendable(left, right string) (databaseLeft, ok bool) {
	return left == "postgres", (left == "postgres") != (right == "postgres")
}

// RepairOf is what mends a finding of a diff whose right side, or else left side, is the database; false if there is
// nothing to be done.
func RepairOf(f diff.Finding, databaseLeft bool) (Repair, bool) {
	r := Repair{Entity: f.Entity, SourceID: f.SourceID}
	if f.Entity != knowledge || f.Class == diff.Extra {
		r.RowID = f.RowID
	}
	switch class := f.Class; {
	case class == diff.Changed, class == diff.Unresolved:
		r.Action = Rewrite
	case class == diff.Missing && !databaseLeft, class == diff.Extra && databaseLeft:
		r.Action = Load
	case class != diff.Missing && class != diff.Extra:
		return r, false
	case f.Entity == knowledge:
		r.Action = Withdraw
	default:
		r.Action = ConfirmGone
	}
	parts := []string{string(f.Class)}
	var columns []string
	for _, c := range f.Cells {
		columns = append(columns, c.Column)
	}
	if len(columns) > 0 {
		parts[0] += " (" + strings.Join(columns, ", ") + ")"
	}
	if f.Cause != "" {
		parts = append(parts, f.Cause)
	}
	r.Why = strings.Join(parts, ": ")
	return r, true
}

// Repairs collects what mends the findings of a diff. The zero value is ready.
type Repairs struct {
	DatabaseLeft bool
	list         map[[3]string]*merged
}

// merged is a repair with all reasons for it, each once, in order.
type merged struct {
	Repair
	why []string
}

// Add takes up a finding. Several findings of one object become one repair, with all reasons.
func (l *Repairs) Add(f diff.Finding) {
	r, ok := RepairOf(f, l.DatabaseLeft)
	if !ok {
		return
	}
	if l.list == nil {
		l.list = make(map[[3]string]*merged)
	}
	key := [3]string{r.Entity, r.SourceID, r.RowID}
	m := l.list[key]
	switch {
	case m == nil:
		m = &merged{Repair: r}
		l.list[key] = m
	case m.Action != r.Action:
		m.Action = Rewrite
	}
	if i, found := slices.BinarySearch(m.why, r.Why); !found {
		m.why = slices.Insert(m.why, i, r.Why)
	}
}

// All lists the repairs in a fixed order: by entity, then by id.
func (l *Repairs) All() []Repair {
	list := make([]Repair, 0, len(l.list))
	for _, m := range l.list {
		r := m.Repair
		r.Why = strings.Join(m.why, "; ")
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b Repair) int {
		return cmp.Or(
			cmp.Compare(slices.Index(diff.Entities[:], a.Entity), slices.Index(diff.Entities[:], b.Entity)),
			cmp.Compare(a.SourceID, b.SourceID),
			cmp.Compare(a.RowID, b.RowID),
		)
	})
	return list
}

// IDs are the ids of the objects of a kind that have to be read, each once, in a fixed order.
func (l *Repairs) IDs(kind record.Kind) []string {
	var ids []string
	for _, r := range l.list {
		if r.Kind() == kind {
			ids = append(ids, r.SourceID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// StrayKnowledge are the conversations of which there is knowledge that the source has not, and the rows among it that hang elsewhere.
func (l *Repairs) StrayKnowledge() (conversations []string, rows []record.UUID) {
	for _, r := range l.list {
		if r.Entity != knowledge || r.Action != Withdraw && r.RowID == "" {
			continue
		}
		conversations = append(conversations, r.SourceID)
		if id, err := record.ParseUUID(r.RowID); err == nil {
			rows = append(rows, id)
		}
	}
	slices.Sort(conversations)
	return slices.Compact(conversations), rows
}

// Strays are the rows of a kind that no object is bound to. For knowledge see StrayKnowledge.
func (l *Repairs) Strays(kind record.Kind) []record.UUID {
	var rows []record.UUID
	for _, r := range l.list {
		if id, err := record.ParseUUID(r.RowID); err == nil && r.Entity == entityOf(kind) {
			rows = append(rows, id)
		}
	}
	return rows
}

// Len is how many there are.
func (l *Repairs) Len() int { return len(l.list) }

// Write writes one JSON object per line.
func (l *Repairs) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, r := range l.All() {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// Summary says in a sentence what there is to do.
func (l *Repairs) Summary() string {
	n := map[Action]int{}
	for _, r := range l.list {
		n[r.Action]++
	}
	var parts []string
	for _, a := range []struct {
		action Action
		text   string
	}{{Load, "to load"}, {Rewrite, "to write anew"}, {ConfirmGone, "to be confirmed as gone"}, {Withdraw, "whose knowledge is to be withdrawn"}} {
		if n[a.action] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[a.action], a.text))
		}
	}
	if len(parts) == 0 {
		return "nothing to mend"
	}
	return strings.Join(parts, ", ")
}

// Keys are the ids to be looked at again, by entity, each once and in a fixed order. A conversation is looked at together
// with its knowledge.
func (l *Repairs) Keys() map[string][]string {
	keys := make(map[string][]string)
	for _, r := range l.list {
		for _, entity := range diff.Entities {
			if entity == r.Entity || diff.Kind(entity) == record.KindConversation && r.Kind() == record.KindConversation {
				keys[entity] = append(keys[entity], r.SourceID)
			}
		}
		if r.RowID != "" {
			keys[r.Entity] = append(keys[r.Entity], diff.StrayPrefix+r.RowID)
		}
	}
	for entity, ids := range keys {
		slices.Sort(ids)
		keys[entity] = slices.Compact(ids)
	}
	return keys
}
