package intercomtest

import (
	"fmt"
	"slices"
	"testing"
)

// livingIDs is the ledger's list of the objects of a kind.
func livingIDs(w *Workspace, k Kind) []string { return slices.Collect(w.Ledger().IDs(k)) }

// sameSet compares lists without regard to order; both must be free of doubles.
func sameSet(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if u := slices.Compact(slices.Clone(got)); len(u) != len(got) {
		t.Errorf("%s: %d of %d ids came more than once", what, len(got)-len(u), len(got))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %d ids, want %d", what, len(got), len(want))
	}
}

func TestAWalkOverAnyListFindsEveryObjectOnce(t *testing.T) {
	for _, touched := range []bool{false, true} {
		s := Start(t, Options{Seed: 3, Conversations: 400})
		if touched {
			for _, k := range Kinds() {
				s.TouchRandom(k, 7)
				s.DeleteRandom(k, 2)
			}
			if _, err := s.CreateConversation("", "A new one"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.CreateContact(map[string]any{"email": "new@example.com"}); err != nil {
				t.Fatal(err)
			}
		}
		search := func(field, order string) string {
			return `{"query":{"field":"created_at","operator":">","value":0},"pagination":{"per_page":37%s},"sort":{"field":"` + field + `","order":"` + order + `"}}`
		}
		for _, c := range []struct {
			kind        Kind
			path, query string
		}{
			{Contacts, "/contacts?per_page=33", ""},
			{Conversations, "/conversations?per_page=31", ""},
			{Contacts, "/contacts/search", search("updated_at", "ascending")},
			{Contacts, "/contacts/search", search("created_at", "descending")},
			{Conversations, "/conversations/search", search("updated_at", "ascending")},
			{Conversations, "/conversations/search", search("updated_at", "descending")},
			{Conversations, "/conversations/search", search("created_at", "ascending")},
			{Tickets, "/tickets/search", search("updated_at", "ascending")},
			{Tickets, "/tickets/search", search("created_at", "descending")},
		} {
			name := fmt.Sprintf("%s %s touched=%v", c.path, c.query, touched)
			sameSet(t, name, walkAll(t, s, c.path, c.query), livingIDs(s.Workspace, c.kind))
		}
	}
}

func TestEveryIDOfTheLedgerCanBeRead(t *testing.T) {
	s := Start(t, Options{Seed: 5, Conversations: 300})
	for _, k := range Kinds() {
		for _, id := range livingIDs(s.Workspace, k) {
			r := get(t, s, "/"+string(k)+"/"+id)
			if r.status != 200 || fmt.Sprint(r.json["id"]) != id {
				t.Fatalf("%s %s: %d %s", k, id, r.status, r.json["id"])
			}
		}
	}
}
