package postgres

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
)

// world is identity with a name for every row: that of the object whose id it has, or the one that the test gave.
type world struct {
	d     *identity
	names map[record.UUID]string
	n     int
}

func newWorld() *world {
	return &world{d: newIdentity(orgA, record.KindContact), names: make(map[record.UUID]string)}
}

// native puts a row of Halo's own there.
func (w *world) native(name, external, email string) {
	id := record.UUID{0xff, byte(len(w.names) + 1)}
	w.names[id] = name
	b := &body{ID: id, External: external, Email: email}
	w.d.addRow(b)
	b.Native = true
}

func (w *world) name(id record.UUID) string {
	if n, ok := w.names[id]; ok {
		return n
	}
	for _, m := range w.d.members {
		for _, suffix := range []string{"", "#2", "#3"} {
			if record.RowID(orgA, record.KindContact, m.ID+suffix) == id {
				return strings.ToUpper(m.ID + suffix)
			}
		}
	}
	return "?"
}

// do runs a step: "a x1 m1" is the contact a with an external id and an e-mail address ("-" for none), "A x1" likewise but a user (the
// name is the same), "a > b" says that a was merged into b, "a gone" that it was deleted.
func (w *world) do(step string) {
	w.n++
	part := strings.Fields(step)
	switch {
	case part[1] == ">":
		w.d.bury(tombstone{ID: part[0], Why: record.GoneMerged, At: at(w.n), Into: part[2]})
		return
	case part[1] == "gone":
		w.d.bury(tombstone{ID: part[0], Why: record.GoneDeleted, At: at(w.n)})
		return
	}
	c := claim{ID: strings.ToLower(part[0]), Updated: at(w.n)}
	if c.ID != part[0] {
		c.Rank = 1
	}
	if part[1] != "-" {
		c.External = part[1]
	}
	if len(part) > 2 && part[2] != "-" {
		c.Email = part[2]
	}
	m, _ := w.d.bind(c, at(w.n))
	m.Fetched = at(w.n)
	m.Gone, m.Into = time.Time{}, ""
	b := w.d.rows[m.Row]
	w.d.settle(b)
	if w.d.wins(m) {
		b.Content = m.ID
	}
	if c.Email != "" && (w.d.wins(m) || b.Email == "") {
		b.Email = c.Email
		w.d.addEmail(b)
	}
}

// bindings lists who is where and why.
func (w *world) bindings() string {
	var list []string
	for _, id := range slices.Sorted(maps.Keys(w.d.members)) {
		m := w.d.members[id]
		list = append(list, fmt.Sprintf("%s=%s(%s)", id, w.name(m.Row), m.Reason))
	}
	return strings.Join(list, " ")
}

// rows lists the rows with their external ids, who shows on them, and whether they are marked deleted.
func (w *world) rows() string {
	var list []string
	for _, b := range w.d.rows {
		s := w.name(b.ID) + ":" + b.External + ":" + b.Content
		if !b.Deleted.IsZero() {
			s += ":deleted"
		}
		list = append(list, s)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestIdentity(t *testing.T) {
	tests := []struct {
		name     string
		native   []string // "row external email"
		steps    []string
		bindings string
		rows     string
	}{
		{name: "a contact that nobody knows gets a row of its own id",
			steps: []string{"a x1 m1"}, bindings: "a=A(created)", rows: "A:x1:a"},
		{name: "a contact is matched by its external id before its e-mail address",
			native: []string{"h1 x1 m1", "h2 x2 m2"}, steps: []string{"a x1 m2"}, bindings: "a=h1(external_id)", rows: "h1:x1:a h2:x2:"},
		{name: "a contact is matched by e-mail where no row has its external id",
			native: []string{"h1 - m1"}, steps: []string{"a x1 m1"}, bindings: "a=h1(email)", rows: "h1:x1:a"},
		{name: "an e-mail address never joins two rows with different external ids",
			native: []string{"h1 x9 m1"}, steps: []string{"a x1 m1"}, bindings: "a=A(created)", rows: "A:x1:a h1:x9:"},
		{name: "a contact without an external id joins the row of its address, which keeps its own",
			native: []string{"h1 x9 m1"}, steps: []string{"a - m1"}, bindings: "a=h1(email)", rows: "h1:x9:a"},
		{name: "of several rows with the address the lowest id that fits is taken",
			native: []string{"h1 x9 m1", "h2 - m1", "h3 - m1"}, steps: []string{"a x1 m1", "b - m1"}, bindings: "a=h2(email) b=h1(email)", rows: "h1:x9:b h2:x1:a h3::"},
		{name: "a contact without anything to know it by is a row of its own, and so is the next",
			steps: []string{"a - -", "b - -"}, bindings: "a=A(created) b=B(created)", rows: "A::a B::b"},
		{name: "a lead and a user with one address share a row that shows the user, whoever comes first",
			steps: []string{"a - m1", "B x1 m1"}, bindings: "a=A(created) b=A(email)", rows: "A:x1:b"},
		{name: "a user and then a lead likewise",
			steps: []string{"B x1 m1", "a - m1"}, bindings: "a=B(email) b=B(created)", rows: "B:x1:b"},
		{name: "two contacts with one external id share a row, and the newer state shows",
			steps: []string{"A x1 m1", "B x1 m2"}, bindings: "a=A(created) b=A(external_id)", rows: "A:x1:b"},
		{name: "a contact whose address changes stays where it is",
			native: []string{"h1 - m2"}, steps: []string{"a - m1", "a - m2"}, bindings: "a=A(created)", rows: "A::a h1::"},
		{name: "a contact that gets the external id of another row moves there and leaves a deleted one behind",
			native: []string{"h1 x1 -"}, steps: []string{"a - m1", "a x1 m1"}, bindings: "a=h1(external_id)", rows: "A::a:deleted h1:x1:a"},
		{name: "a contact that was alone on its row takes a new external id with it",
			steps: []string{"a x1 m1", "a x2 m1"}, bindings: "a=A(created)", rows: "A:x2:a"},
		{name: "an external id that Halo gave is not changed: the contact leaves for a row of its own",
			native: []string{"h1 x1 m1"}, steps: []string{"a x1 m1", "a x2 m1"}, bindings: "a=A(created)", rows: "A:x2:a h1:x1:"},
		{name: "an external id that a contact gave to Halo's row can be changed by it",
			native: []string{"h1 - m1"}, steps: []string{"a x1 m1", "a x2 m1"}, bindings: "a=h1(email)", rows: "h1:x2:a"},
		{name: "who shares a row and gets another external id than it leaves, and a taken id is not given twice",
			steps: []string{"a - m1", "B x1 m1", "A x2 m1"}, bindings: "a=A#2(created) b=A(email)", rows: "A#2:x2:a A:x1:b"},
		{name: "a merged contact goes where its survivor is, and its own row is marked deleted",
			steps: []string{"a x1 m1", "b x2 m2", "a > b"}, bindings: "a=B(merged) b=B(created)", rows: "A::a:deleted B:x2:b"},
		{name: "a contact that was merged before it was seen is bound to the survivor and makes no row",
			steps: []string{"b x2 m2", "a > b"}, bindings: "a=B(merged) b=B(created)", rows: "B:x2:b"},
		{name: "a contact that was merged into one that is not known yet follows it when it comes",
			steps: []string{"a x1 m1", "a > b", "b x2 m2"}, bindings: "a=B(merged) b=B(created)", rows: "A::a:deleted B:x2:b"},
		{name: "a chain of merges ends at the last survivor",
			steps: []string{"a x1 -", "b x2 -", "c x3 -", "a > b", "b > c"}, bindings: "a=C(merged) b=C(merged) c=C(created)", rows: "A::a:deleted B::b:deleted C:x3:c"},
		{name: "merges in a circle end",
			steps: []string{"a x1 -", "b x2 -", "a > b", "b > a"}, bindings: "a=B(merged) b=B(created)", rows: "A::a:deleted B:x2:b:deleted"},
		{name: "who was merged follows when the survivor moves",
			native: []string{"h1 x9 -"}, steps: []string{"a x1 -", "b x2 -", "a > b", "b x9 -"}, bindings: "a=h1(merged) b=h1(external_id)", rows: "A::a:deleted B::b:deleted h1:x9:b"},
		{name: "a merged contact that is seen in a newer state is on its own again",
			steps: []string{"a x1 -", "b x2 -", "a > b", "a x1 -"}, bindings: "a=A(created) b=B(created)", rows: "A:x1:a B:x2:b"},
		{name: "a row is deleted when the last contact on it is",
			steps: []string{"a - m1", "b - m1", "a gone", "b gone"}, bindings: "a=A(created) b=A(email)", rows: "A::b:deleted"},
		{name: "a row is not deleted while another contact is on it, and shows that one",
			steps: []string{"a - m1", "b - m1", "b gone"}, bindings: "a=A(created) b=A(email)", rows: "A::a"},
		{name: "a row of Halo's own is never marked deleted",
			native: []string{"h1 x1 -"}, steps: []string{"a x1 -", "a gone"}, bindings: "a=h1(external_id)", rows: "h1:x1:a"},
		{name: "a deleted contact's person who comes back as another contact gets the row again",
			steps: []string{"a x1 m1", "a gone", "b x1 m1"}, bindings: "a=A(created) b=A(external_id)", rows: "A:x1:b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			for _, n := range tt.native {
				part := strings.Fields(strings.ReplaceAll(n, "-", "\x00"))
				for i := range part {
					part[i] = strings.Trim(part[i], "\x00")
				}
				w.native(part[0], part[1], part[2])
			}
			for _, s := range tt.steps {
				w.do(s)
			}
			if diff := cmp.Diff(tt.bindings, w.bindings()); diff != "" {
				t.Errorf("bindings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.rows, w.rows()); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIdentityHoldsItsPromisesForAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		taken := make(map[string]bool)
		for i := range rapid.IntRange(0, 3).Draw(t, "natives") {
			external := rapid.SampledFrom([]string{"", "x1", "x2", "x3"}).Draw(t, "external")
			if taken[external] {
				external = ""
			}
			taken[external] = true
			w.native(fmt.Sprintf("h%d", i), external, rapid.SampledFrom([]string{"", "m1", "m2"}).Draw(t, "email"))
		}
		last := make(map[string]string)
		contacts := []string{"a", "b", "c", "d", "e"}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			id := rapid.SampledFrom(contacts).Draw(t, "id")
			var step string
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				step = id + " gone"
			case 1:
				step = id + " > " + rapid.SampledFrom(contacts).Draw(t, "into")
			default:
				name := id
				if rapid.Bool().Draw(t, "user") {
					name = strings.ToUpper(id)
				}
				step = name + " " + rapid.SampledFrom([]string{"-", "x1", "x2", "x3"}).Draw(t, "external") +
					" " + rapid.SampledFrom([]string{"m1", "m2", "m3"}).Draw(t, "email")
			}
			w.do(step)
			last[id] = step
			check(t, w)
			before := w.bindings() + "\n" + w.rows()
			if !strings.Contains(step, ">") && !strings.Contains(step, "gone") {
				w.do(step)
				if after := w.bindings() + "\n" + w.rows(); after != before {
					t.Fatalf("%q a second time changes\n%s\nto\n%s", step, before, after)
				}
			}
		}
	})
}

// check says what holds after every step.
func check(t *rapid.T, w *world) {
	people, external := make(map[string]record.UUID), make(map[string]record.UUID)
	for _, b := range w.d.rows {
		if b.External != "" {
			if other, twice := external[b.External]; twice {
				t.Fatalf("rows %s and %s have the external id %s", w.name(other), w.name(b.ID), b.External)
			}
			external[b.External] = b.ID
		}
		if b.Native && !b.Deleted.IsZero() {
			t.Fatalf("Halo's own row %s is marked deleted", w.name(b.ID))
		}
		live := false
		for _, m := range b.members {
			if m.Row != b.ID || w.d.members[m.ID] != m {
				t.Fatalf("%s is on row %s and bound to %s", m.ID, w.name(b.ID), w.name(m.Row))
			}
			live = live || m.Gone.IsZero()
			if m.Native != b.Native {
				t.Fatalf("%s and its row %s do not agree on whose it is", m.ID, w.name(b.ID))
			}
		}
		if !b.Native && live != b.Deleted.IsZero() {
			t.Fatalf("row %s is deleted: %v, has somebody on it: %v", w.name(b.ID), !b.Deleted.IsZero(), live)
		}
	}
	for _, m := range w.d.members {
		b := w.d.rows[m.Row]
		if b == nil {
			t.Fatalf("%s has no row", m.ID)
		}
		if n := len(slices.DeleteFunc(slices.Clone(b.members), func(o *member) bool { return o != m })); n != 1 {
			t.Fatalf("%s is on its row %d times", m.ID, n)
		}
		if m.Reason == reasonMerged || m.External == "" {
			continue
		}
		if b.External != m.External {
			t.Fatalf("%s claims %s and is on row %s, which has %q", m.ID, m.External, w.name(b.ID), b.External)
		}
		if other, ok := people[m.External]; ok && other != m.Row {
			t.Fatalf("two rows for the external id %s", m.External)
		}
		people[m.External] = m.Row
	}
}
