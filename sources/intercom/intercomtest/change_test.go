package intercomtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func firstConversation(t *testing.T, s *Server, ok func(LedgerConversation) bool) LedgerConversation {
	t.Helper()
	for c := range s.Ledger().Conversations() {
		if ok(c) {
			return c
		}
	}
	t.Fatal("no such conversation")
	return LedgerConversation{}
}

func TestChangesOfAConversationShowInTheAPI(t *testing.T) {
	clock := newClock()
	s := Start(t, Options{Seed: 3, Conversations: 60, Now: clock.now})
	id := firstConversation(t, s, func(c LedgerConversation) bool { return c.TicketID == "" && c.State == "closed" && !c.Odd }).ID
	last := func() map[string]any {
		parts := get(t, s, "/conversations/"+id).json["conversation_parts"].(map[string]any)["conversation_parts"].([]any)
		return parts[len(parts)-1].(map[string]any)
	}
	state := func() string { return get(t, s, "/conversations/"+id).json["state"].(string) }
	part, err := s.Reply(id, "user", "It is broken & I am sad")
	if err != nil {
		t.Fatal(err)
	}
	if p := last(); p["id"] != part || p["body"] != "<p>It is broken &amp; I am sad</p>" || fmt.Sprint(p["created_at"]) != fmt.Sprint(clock.t.Unix()) || state() != "open" {
		t.Errorf("reply: %v, state %s", p, state())
	}
	if err := s.Note(id, "Between us"); err != nil {
		t.Fatal(err)
	}
	if p := last(); p["part_type"] != "note" {
		t.Errorf("note: %v", p)
	}
	if err := s.Close(id, "Bye"); err != nil {
		t.Fatal(err)
	}
	if p := last(); p["part_type"] != "close" || p["body"] != "<p>Bye</p>" || state() != "closed" {
		t.Errorf("close: %v, state %s", p, state())
	}
	if err := s.Redact(id, part); err != nil {
		t.Fatal(err)
	}
	if err := s.Redact(id, ""); err != nil {
		t.Fatal(err)
	}
	o := get(t, s, "/conversations/"+id)
	if strings.Contains(string(o.body), "I am sad") || o.json["source"].(map[string]any)["redacted"] != true {
		t.Error("a redacted text can still be read")
	}
	conv, _ := s.Ledger().Conversation(id)
	for _, m := range conv.Messages {
		if m.Redacted && (m.HasText || m.Text != "") {
			t.Errorf("the ledger keeps a redacted text: %+v", m)
		}
	}
	if err := s.Delete(Conversations, id); err != nil {
		t.Fatal(err)
	}
	if r := get(t, s, "/conversations/"+id); r.status != 404 {
		t.Errorf("deleted: %d", r.status)
	}
	if r := get(t, s, "/conversations/deleted"); r.ids()[0] != id {
		t.Errorf("the newest deletion is %s, want %s", r.ids()[0], id)
	}
	if r := get(t, s, "/conversations/deleted?order=asc"); r.ids()[len(r.ids())-1] != id {
		t.Error("in ascending order the newest deletion is not the last")
	}
	if slices.Contains(walkAll(t, s, "/conversations?per_page=50", ""), id) {
		t.Error("a deleted conversation is listed")
	}
	if _, err := s.Reply(id, "user", "?"); !errors.Is(err, ErrNoObject) {
		t.Errorf("a reply to a deleted conversation: %v", err)
	}
	checkStory(t, s)
}

func TestSilentRedactionLeavesTheTimeAlone(t *testing.T) {
	for _, silent := range []bool{false, true} {
		s := Start(t, Options{Seed: 3, Conversations: 20, SilentRedaction: silent})
		before := firstConversation(t, s, func(c LedgerConversation) bool { return c.Messages[0].HasText })
		if err := s.Redact(before.ID, ""); err != nil {
			t.Fatal(err)
		}
		after, _ := s.Ledger().Conversation(before.ID)
		if (after.UpdatedAt == before.UpdatedAt) != silent || after.Messages[0].HasText {
			t.Errorf("silent=%v: updated_at %d -> %d", silent, before.UpdatedAt, after.UpdatedAt)
		}
	}
}

func TestMergingContacts(t *testing.T) {
	clock := newClock()
	s := Start(t, Options{Seed: 3, Conversations: 100, Now: clock.now})
	conv := firstConversation(t, s, func(c LedgerConversation) bool { return len(c.Contacts) == 1 && !c.ContactGone })
	lead := conv.Contacts[0]
	var users []string
	for c := range s.Ledger().Contacts() {
		if c.Role == "user" && c.ID != lead {
			users = append(users, c.ID)
		}
	}
	if err := s.MergeContacts(lead, users[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.MergeContacts(users[0], users[1]); err != nil { // a chain
		t.Fatal(err)
	}
	for _, gone := range []string{lead, users[0]} {
		r := get(t, s, "/contacts/"+gone)
		if r.status != 410 || r.code() != "contact_merged" || r.header.Get("Link") != "</contacts/"+users[1]+`>; rel="canonical"` {
			t.Errorf("merged contact: %d %s, Link %s", r.status, r.code(), r.header.Get("Link"))
		}
		if r := get(t, s, "/contacts/"+gone, "Intercom-Version: 2.15"); r.status != 404 {
			t.Errorf("before 2.16: %d", r.status)
		}
	}
	if ids := walkAll(t, s, "/contacts?per_page=50", ""); slices.Contains(ids, lead) || !slices.Contains(ids, users[1]) {
		t.Error("the list still has the merged contact, or lacks the survivor")
	}
	refs := get(t, s, "/conversations/"+conv.ID).json["contacts"].(map[string]any)["contacts"].([]any)
	if refs[0].(map[string]any)["id"] != users[1] {
		t.Errorf("the conversation names %v, want the survivor %s", refs[0], users[1])
	}
	if h := get(t, s, "/contacts/"+users[1]+"/merge_history"); h.rows()[0]["source_contact_id"] != users[0] {
		t.Errorf("history: %s", h.body)
	}
	if o := get(t, s, "/contacts/"+users[1]+"?include_merge_history=true"); !strings.Contains(string(o.body), `"source_contact_id":"`+users[0]+`"`) {
		t.Error("no merge history on request")
	}
	if o := get(t, s, "/contacts/"+users[1]); strings.Contains(string(o.body), "merge_history") {
		t.Error("a merge history without a request")
	}
	n := 0
	for d := range s.Ledger().Deleted() {
		if !d.Before && d.Into == users[1] {
			n++
		}
	}
	if n != 2 || s.Ledger().Counts().MergedContacts != 2 {
		t.Errorf("the ledger knows %d merges into the survivor and counts %d, want 2", n, s.Ledger().Counts().MergedContacts)
	}
	checkStory(t, s)
}

func TestContactsMergedBeforeTheWorkspaceWasOpened(t *testing.T) {
	s := Start(t, Options{Seed: 3, Conversations: 1000})
	n := 0
	for d := range s.Ledger().Deleted() {
		if d.Kind != Contacts {
			continue
		}
		n++
		if r := get(t, s, "/contacts/"+d.ID); r.status != 410 || !strings.Contains(r.header.Get("Link"), d.Into) {
			t.Errorf("%s: %d %s", d.ID, r.status, r.header.Get("Link"))
		}
		if h := get(t, s, "/contacts/"+d.Into+"/merge_history"); h.status != 200 || h.rows()[0]["source_contact_id"] != d.ID {
			t.Errorf("history of %s: %s", d.Into, h.body)
		}
	}
	if n != 3 {
		t.Errorf("%d merged contacts, want 3", n)
	}
	for c := range s.Ledger().Contacts() {
		if c.Role == "lead" {
			if h := get(t, s, "/contacts/"+c.ID+"/merge_history"); h.status != 404 {
				t.Errorf("the history of a lead: %d", h.status)
			}
			break
		}
	}
}

func TestMergeHistoryIsPaged(t *testing.T) {
	s := Start(t, Options{Seed: 3, Conversations: 100})
	ids := livingIDs(s.Workspace, Contacts)
	into, err := s.CreateContact(map[string]any{"role": "user"})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids[:5] {
		if err := s.MergeContacts(id, into); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for cursor := ""; ; {
		r := get(t, s, "/contacts/"+into+"/merge_history?order=asc&per_page=2&cursor="+cursor)
		for _, m := range r.rows() {
			got = append(got, m["source_contact_id"].(string))
		}
		if r.json["has_more"] != true {
			break
		}
		cursor = r.json["next_cursor"].(string)
	}
	if !slices.Equal(got, ids[:5]) {
		t.Errorf("got %v, want %v", got, ids[:5])
	}
}

func TestATicketAndItsConversationChangeTogether(t *testing.T) {
	clock := newClock()
	s := Start(t, Options{Seed: 1, Conversations: 400, Now: clock.now})
	var both []LedgerTicket
	for k := range s.Ledger().Tickets() {
		if k.Conversation {
			both = append(both, k)
		}
	}
	if err := s.SetTicketState(both[0].ID, "waiting_on_customer"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reply(both[1].ID, "admin", "On it"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(Tickets, both[2].ID); err != nil {
		t.Fatal(err)
	}
	if o := get(t, s, "/tickets/"+both[0].ID).json; o["ticket_state"].(map[string]any)["category"] != "waiting_on_customer" {
		t.Errorf("state: %v", o["ticket_state"])
	}
	q := fmt.Sprintf(`{"query":{"field":"updated_at","operator":">","value":%d}}`, clock.t.Unix()-1)
	for _, path := range []string{"/tickets/search", "/conversations/search"} {
		sameSet(t, path, ask(t, s, "POST", path, q).ids(), []string{both[0].ID, both[1].ID})
	}
	if get(t, s, "/conversations/"+both[2].ID).status != 404 || get(t, s, "/tickets/"+both[2].ID).status != 404 {
		t.Error("the ticket's conversation is still there")
	}
	if parts := get(t, s, "/tickets/"+both[1].ID).json["ticket_parts"].(map[string]any)["ticket_parts"].([]any); parts[len(parts)-1].(map[string]any)["body"] != "<p>On it</p>" {
		t.Error("the ticket lacks the reply")
	}
	checkStory(t, s)
}

func TestWhatCannotBeChangedIsRefused(t *testing.T) {
	s := Start(t, Options{Conversations: 20})
	conv, contact := livingIDs(s.Workspace, Conversations)[0], livingIDs(s.Workspace, Contacts)[0]
	for name, c := range map[string]Change{
		"an unknown op": {Op: "explode"}, "no such object": {Op: "touch", Kind: Contacts, ID: "nobody"},
		"an unknown field":   {Op: "set", Kind: Contacts, ID: contact, Fields: map[string]json.RawMessage{"shoe_size": json.RawMessage("43")}},
		"an unknown company": {Op: "set", Kind: Contacts, ID: contact, Fields: map[string]json.RawMessage{"companies": json.RawMessage(`["x"]`)}},
		"an unknown part":    {Op: "redact", ID: conv, Part: "1"}, "an unknown author": {Op: "reply", ID: conv, By: "ghost", Text: "x"},
		"an unknown state": {Op: "ticket-state", ID: conv, State: "lost"}, "a merge with itself": {Op: "merge", ID: contact, Into: contact},
		"a new ticket": {Op: "create", Kind: Tickets}, "a conversation of nobody": {Op: "create", Kind: Conversations, Contact: "nobody"},
	} {
		if _, err := s.Apply(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Random changes, then everything is read and compared.
func TestAfterAnyChangesTheAPIAndTheLedgerAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := Start(t, Options{Seed: rapid.Uint64Range(1, 50).Draw(rt, "seed"), Conversations: 9, Contacts: 8, Companies: 3, Tickets: 3})
		n := rapid.IntRange(1, 15).Draw(rt, "changes")
		for range n {
			some := func(k Kind) string {
				ids := livingIDs(s.Workspace, k)
				if len(ids) == 0 {
					return ""
				}
				return ids[rapid.IntRange(0, len(ids)-1).Draw(rt, string(k))]
			}
			kind := rapid.SampledFrom(Kinds()).Draw(rt, "kind")
			c := rapid.SampledFrom([]Change{
				{Op: "touch-random", Kind: kind, N: 2}, {Op: "delete", Kind: kind, ID: some(kind)}, {Op: "reply", ID: some(Conversations), By: "user", Text: "Hello <you> & all"},
				{Op: "note", ID: some(Conversations), Text: "hm"}, {Op: "close", ID: some(Conversations)}, {Op: "reopen", ID: some(Conversations)}, {Op: "redact", ID: some(Conversations)},
				{Op: "create", Kind: Conversations, Contact: some(Contacts), Text: "New"}, {Op: "create", Kind: Contacts, Fields: map[string]json.RawMessage{"email": json.RawMessage(`"a@b.example"`)}},
				{Op: "create", Kind: Companies, Fields: map[string]json.RawMessage{"name": json.RawMessage(`"Acme"`)}}, {Op: "merge", ID: some(Contacts), Into: some(Contacts)},
				{Op: "ticket-state", ID: some(Tickets), State: "resolved"}, {Op: "set", Kind: Contacts, ID: some(Contacts), Fields: map[string]json.RawMessage{"custom_attributes.x": json.RawMessage("[1]"), "external_id": json.RawMessage(`"e1"`)}},
			}).Draw(rt, "change")
			_, _ = s.Apply(c) // some draws make no sense and are refused
		}
		checkStory(t, s)
		list := `{"query":{"field":"created_at","operator":">","value":0},"pagination":{"per_page":7%s},"sort":{"field":"updated_at","order":"ascending"}}`
		for _, k := range []Kind{Contacts, Conversations, Tickets} {
			sameSet(t, string(k), walkAll(t, s, "/"+string(k)+"/search", list), livingIDs(s.Workspace, k))
			if got, want := ask(t, s, "POST", "/"+string(k)+"/search", fmt.Sprintf(list, "")).total(), s.Ledger().Counts().Of(k); got != want {
				t.Errorf("%s: total %d, ledger %d", k, got, want)
			}
		}
	})
}

func TestTheControlSurface(t *testing.T) {
	s := Start(t, Options{Seed: 3, Conversations: 30})
	conv := livingIDs(s.Workspace, Conversations)[2]
	none := "Authorization: " // the surface is not under the token
	r := ask(t, s, "POST", "/_sim/change", `{"op":"reply","id":"`+conv+`","by":"user","text":"Hi"} {"op":"touch-random","kind":"contacts","n":3}`, none)
	if r.status != 200 || len(r.json["ids"].([]any)) != 2 || len(r.json["ids"].([]any)[1].([]any)) != 3 {
		t.Fatalf("change: %d %s", r.status, r.body)
	}
	for body, want := range map[string]int{`{"op":"explode"}`: 400, `{"op":`: 400, `{"op":"touch","colour":"red"}`: 400, ``: 200} {
		if r := ask(t, s, "POST", "/_sim/change", body, none); r.status != want {
			t.Errorf("change %q: %d, want %d", body, r.status, want)
		}
	}
	if r := ask(t, s, "PUT", "/_sim/faults", `5xx:nth=1,path=/me,status=503`, none); r.status != 200 || len(s.Faults()) != 1 {
		t.Errorf("faults as text: %d %s", r.status, r.body)
	}
	if r := get(t, s, "/me"); r.status != 503 {
		t.Errorf("the fault does not work: %d", r.status)
	}
	if r := ask(t, s, "PUT", "/_sim/faults", `[{"kind":"reset","rate":0.5}]`, none); r.status != 200 || s.Faults()[0].Rate != 0.5 {
		t.Errorf("faults as JSON: %d %s", r.status, r.body)
	}
	if r := ask(t, s, "PUT", "/_sim/faults", `gremlins`, none); r.status != 400 {
		t.Errorf("an unknown fault: %d", r.status)
	}
	if r := ask(t, s, "DELETE", "/_sim/faults", "", none); r.status != 200 || len(s.Faults()) != 0 {
		t.Errorf("no faults: %d", r.status)
	}
	var st Stats
	if err := json.Unmarshal(ask(t, s, "GET", "/_sim/stats", "", none).body, &st); err != nil || st.Requests != 1 || st.Endpoints["GET /me"] != 1 || st.Statuses[503] != 1 || st.Faults[FaultServerError] != 1 {
		t.Errorf("stats: %+v %v", st, err)
	}
	if ask(t, s, "DELETE", "/_sim/stats", "", none); s.Stats().Requests != 0 {
		t.Error("the figures are not reset")
	}
	lines, kinds := 0, map[string]int{}
	in := bufio.NewScanner(strings.NewReader(string(ask(t, s, "GET", "/_sim/ledger", "", none).body)))
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var l struct{ Kind string }
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		lines++
		kinds[l.Kind]++
	}
	c := s.Ledger().Counts()
	if kinds["counts"] != 1 || kinds["conversations"] != c.Conversations || kinds["contacts"] != c.Contacts || kinds["tickets"] != c.Tickets || kinds["companies"] != c.Companies {
		t.Errorf("ledger of %d lines: %v, counts %+v", lines, kinds, c)
	}
	if r := ask(t, s, "GET", "/_sim/ledger?kind=nothing", "", none); r.status != 400 {
		t.Errorf("an unknown kind: %d", r.status)
	}
	if r := ask(t, s, "GET", "/_sim/", "", none); r.status != 404 {
		t.Errorf("an unknown path: %d", r.status)
	}
	req, err := http.NewRequest("GET", "/_sim/stats", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.RemoteAddr = "192.0.2.1:1234"
	w := &recorder{header: http.Header{}}
	if s.ServeHTTP(w, req); w.status != 403 {
		t.Errorf("from another machine: %d", w.status)
	}
}

// recorder keeps the status only.
type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(s int)           { r.status = s }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
