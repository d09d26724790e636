package intercomtest

import (
	"bytes"
	"fmt"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheSameSeedGivesTheSameWorkspaceAndAnotherSeedAnother(t *testing.T) {
	clock := newClock()
	dump := func(seed uint64) []byte {
		w, err := New(Options{Seed: seed, Conversations: 80, Now: clock.now})
		if err != nil {
			t.Fatal(err)
		}
		var out encoder
		v := view{w: w, version: version216, tickets: true, now: clock.t.Unix()}
		for i := range 80 {
			out.conversation(w.conversation(i), &v, true)
		}
		for i := range 40 {
			out.contact(w.contact(i), &v)
		}
		for i := range 4 {
			out.ticket(w.ticket(i), &v)
		}
		out.company(w.company(0), &v)
		return out.b
	}
	if !bytes.Equal(dump(1), dump(1)) {
		t.Error("one seed, two workspaces")
	}
	if bytes.Equal(dump(1), dump(2)) {
		t.Error("two seeds, one workspace")
	}
}

func TestTheGeneratorOfRandomNumbersNeverChanges(t *testing.T) {
	r := newRNG(1, streamContact, 7)
	got := []uint64{r.next(), r.next(), uint64(r.n(1000))}
	if diff := cmp.Diff([]uint64{13460321150606891034, 11723434741306715078, 791}, got); diff != "" {
		t.Errorf("every workspace has changed: %s", diff)
	}
}

func TestIdsLeadBackToTheirObjects(t *testing.T) {
	s := scrambler{mask: 99}
	for _, i := range []int{0, 1, 2, 1000, 1 << 20, ghostBase + 5, mergedBase + 3} {
		if got, ok := s.parseHexID(idContact, s.hexID(idContact, i, 1_700_000_000)); !ok || got != i {
			t.Errorf("%d becomes %d", i, got)
		}
		if got, only, ok := parseDecimalID(conversationID(i)); !ok || only || got != i {
			t.Errorf("conversation %d becomes %d", i, got)
		}
		if got, only, ok := parseDecimalID(ticketOnlyID(i)); !ok || !only || got != i {
			t.Errorf("ticket %d becomes %d", i, got)
		}
	}
}

var (
	breaks = regexp.MustCompile(`</p>|</li>|</div>|<br>`)
	tags   = regexp.MustCompile(`<[a-z/][^>]*>`)
)

// strip is a second opinion on what a body says; quoted replies are cut off.
func strip(body string) string {
	body, _, _ = strings.Cut(body, `<div class="gmail_quote">`)
	return html.UnescapeString(tags.ReplaceAllString(breaks.ReplaceAllString(body, "\n"), ""))
}

// fromAPI makes the ledger's account of a conversation's messages out of what the
// API says.
func fromAPI(o map[string]any) []Message {
	message := func(p map[string]any) Message {
		m := Message{ID: fmt.Sprint(p["id"])}
		m.Redacted, _ = p["redacted"].(bool)
		if a, ok := p["author"].(map[string]any); ok {
			m.AuthorType, _ = a["type"].(string)
			m.AuthorID, _ = a["id"].(string)
		}
		if f, ok := p["attachments"].([]any); ok {
			m.Attachments = len(f)
		}
		if at, ok := p["created_at"]; ok {
			m.CreatedAt, _ = strconv.ParseInt(fmt.Sprint(at), 10, 64)
		}
		m.PartType, _ = p["part_type"].(string)
		m.Note = strings.HasPrefix(m.PartType, "note")
		if body, _ := p["body"].(string); !m.Redacted && NormalizeText(strip(body)) != "" {
			m.HasText, m.TextHash = true, HashText(strip(body))
		}
		return m
	}
	source := o["source"].(map[string]any)
	first := message(source)
	first.Source = true
	first.CreatedAt, _ = strconv.ParseInt(fmt.Sprint(o["created_at"]), 10, 64)
	out := []Message{first}
	parts, _ := o["conversation_parts"].(map[string]any)["conversation_parts"].([]any)
	for _, p := range parts {
		out = append(out, message(p.(map[string]any)))
	}
	return out
}

func TestTheLedgerAndTheAPITellTheSameStory(t *testing.T) {
	s := Start(t, Options{Seed: 21, Conversations: 400, Oddities: 150})
	checkStory(t, s)
}

func checkStory(t *testing.T, s *Server) {
	t.Helper()
	for conv := range s.Ledger().Conversations() {
		o := get(t, s, "/conversations/"+conv.ID).json
		want := slices.Clone(conv.Messages)
		for i := range want {
			want[i].Text, want[i].Quoted = "", ""
		}
		if diff := cmp.Diff(want, fromAPI(o)); diff != "" {
			t.Fatalf("conversation %s (-ledger +API):\n%s", conv.ID, diff)
		}
		if fmt.Sprint(o["updated_at"]) != fmt.Sprint(conv.UpdatedAt) || o["state"] != conv.State {
			t.Errorf("conversation %s: updated %v state %v, ledger %d %s", conv.ID, o["updated_at"], o["state"], conv.UpdatedAt, conv.State)
		}
		if st, ok := o["statistics"].(map[string]any); ok && fmt.Sprint(st["count_conversation_parts"]) != fmt.Sprint(conv.TotalParts) {
			t.Errorf("conversation %s: %v parts, ledger %d", conv.ID, st["count_conversation_parts"], conv.TotalParts)
		}
		for _, c := range conv.Contacts {
			want := 200
			if conv.ContactGone {
				want = 404
			}
			if r := get(t, s, "/contacts/"+c); r.status != want {
				t.Errorf("conversation %s: contact %s is %d, want %d", conv.ID, c, r.status, want)
			}
		}
	}
	for c := range s.Ledger().Contacts() {
		o := get(t, s, "/contacts/"+c.ID).json
		for k, want := range map[string]string{"email": c.Email, "external_id": c.ExternalID, "name": c.Name, "role": c.Role, "updated_at": fmt.Sprint(c.UpdatedAt)} {
			got := fmt.Sprint(o[k])
			if o[k] == nil {
				got = ""
			}
			if got != want {
				t.Errorf("contact %s: %s is %q, ledger %q", c.ID, k, got, want)
			}
		}
	}
	for k := range s.Ledger().Tickets() {
		o := get(t, s, "/tickets/"+k.ID).json
		if fmt.Sprint(o["updated_at"]) != fmt.Sprint(k.UpdatedAt) || o["ticket_state"].(map[string]any)["category"] != k.State || o["ticket_id"] != k.TicketID {
			t.Errorf("ticket %s: updated %v state %v number %v, ledger %+v", k.ID, o["updated_at"], o["ticket_state"], o["ticket_id"], k)
		}
	}
}

func TestAConversationShowsItsNewestFiveHundredParts(t *testing.T) {
	s := Start(t, Options{Seed: 1, Conversations: 30})
	long := 0
	for conv := range s.Ledger().Conversations() {
		o := get(t, s, "/conversations/"+conv.ID).json["conversation_parts"].(map[string]any)
		shown := len(o["conversation_parts"].([]any))
		if shown != min(500, conv.TotalParts) || fmt.Sprint(o["total_count"]) != fmt.Sprint(shown) || conv.Hidden != conv.TotalParts-shown {
			t.Errorf("conversation %s: %d of %d parts, total_count %v, hidden %d", conv.ID, shown, conv.TotalParts, o["total_count"], conv.Hidden)
		}
		if conv.TotalParts > 500 {
			long++
			whole := s.conversation(mustFind(t, s, conv.ID)).parts
			if conv.Messages[500].ID != decimal(whole[len(whole)-1].id) {
				t.Error("the newest part is not shown")
			}
		}
	}
	if long != 1 {
		t.Errorf("%d long conversations among 30, want 1", long)
	}
}

func mustFind(t *testing.T, s *Server, id string) int {
	t.Helper()
	i, ok := s.find(Conversations, id)
	if !ok {
		t.Fatalf("no conversation %s", id)
	}
	return i
}

func TestListRowsHaveNoParts(t *testing.T) {
	s := Start(t, Options{Conversations: 20})
	for _, o := range get(t, s, "/conversations").rows() {
		if _, there := o["conversation_parts"]; there {
			t.Error("parts in a list row")
		}
		if _, there := o["source"]; !there {
			t.Error("no source in a list row")
		}
	}
}

func TestPlainTextOnRequest(t *testing.T) {
	s := Start(t, Options{Seed: 2, Conversations: 20})
	for conv := range s.Ledger().Conversations() {
		for _, m := range get(t, s, "/conversations/"+conv.ID+"?display_as=plaintext").json["conversation_parts"].(map[string]any)["conversation_parts"].([]any) {
			if body, _ := m.(map[string]any)["body"].(string); strings.Contains(body, "<p>") {
				t.Fatalf("markup in %q", body)
			}
		}
	}
}

func TestInlineListsAreCutAtTenAndContinueElsewhere(t *testing.T) {
	s := Start(t, Options{Seed: 1, Conversations: 2000, Companies: 40})
	found := 0
	for c := range s.Ledger().Contacts() {
		if len(c.Companies) <= 10 {
			continue
		}
		found++
		o := get(t, s, "/contacts/"+c.ID).json["companies"].(map[string]any)
		if n := len(o["data"].([]any)); n != 10 || o["has_more"] != true || fmt.Sprint(o["total_count"]) != fmt.Sprint(len(c.Companies)) {
			t.Errorf("%d companies inline, has_more %v, total %v, ledger %d", n, o["has_more"], o["total_count"], len(c.Companies))
		}
		sameSet(t, "companies of "+c.ID, get(t, s, o["url"].(string)).ids(), c.Companies)
	}
	if found == 0 {
		t.Error("no contact has more than ten companies")
	}
}

func TestTheVariantsOfAWorkspaceOccur(t *testing.T) {
	w, err := New(Options{Seed: 1, Conversations: 3000, Oddities: 100})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	mark := func(name string, ok bool) {
		if ok {
			seen[name]++
		} else {
			seen[name] += 0
		}
	}
	emails := map[string][]LedgerContact{}
	for c := range w.Ledger().Contacts() {
		mark("lead", c.Role == "lead")
		mark("user without external id", c.Role == "user" && c.ExternalID == "")
		mark("lead without e-mail", c.Role == "lead" && c.Email == "")
		mark("no name", c.Name == "")
		mark("e-mail in capitals", c.Email != strings.ToLower(c.Email))
		mark("e-mail with blanks", c.Email != strings.TrimSpace(c.Email))
		mark("several companies", len(c.Companies) > 1)
		mark("more than ten companies", len(c.Companies) > 10)
		mark("more than ten tags", c.Tags > 10)
		mark("attribute named like a column", c.CustomAttributes["last_seen"] != "")
		mark("swallowed another", len(c.MergedFrom) > 0)
		if c.Email != "" {
			k := trimLower(c.Email)
			emails[k] = append(emails[k], c)
		}
	}
	for _, list := range emails {
		users, leads := 0, 0
		for _, c := range list {
			if c.Role == "user" {
				users++
			} else {
				leads++
			}
		}
		mark("a lead shares a user's e-mail", users > 0 && leads > 0)
		mark("two users share an e-mail", users > 1)
	}
	for c := range w.Ledger().Companies() {
		mark("company without name", c.Name == "")
		mark("company without plan", c.Plan == "")
		mark("company without company_id", c.CompanyID == "")
		mark("company id as a UUID", len(c.ID) == 36)
	}
	for c := range w.Ledger().Conversations() {
		mark("no contact", len(c.Contacts) == 0)
		mark("contact gone", c.ContactGone)
		mark("also a ticket", c.TicketID != "")
		mark("over 500 parts", c.Hidden > 0)
		mark("no parts", c.TotalParts == 0)
		mark("redacted source", c.Messages[0].Redacted)
		for _, m := range c.Messages[1:] {
			mark("redacted part", m.Redacted)
			mark("note", m.Note)
			mark("quoted reply", m.Quoted != "")
			mark("bot", m.AuthorType == "bot")
			mark("attachment", m.Attachments > 0)
			mark("close with a text", m.PartType == "close" && m.HasText)
		}
	}
	for k := range w.Ledger().Tickets() {
		mark("ticket without title", k.Title == "")
		mark("ticket that is a conversation", k.Conversation)
		mark(k.Category, true)
		mark(k.State, true)
	}
	for name, n := range seen {
		if n == 0 {
			t.Errorf("%s: does not occur", name)
		}
	}
	for _, name := range []string{"Customer", "Back-office", "Tracker", "submitted", "in_progress", "waiting_on_customer", "resolved", ticketStateUnknown} {
		if seen[name] == 0 {
			t.Errorf("tickets: %s does not occur", name)
		}
	}
}

func TestATicketThatIsAConversationHasItsIDAndParts(t *testing.T) {
	s := Start(t, Options{Seed: 1, Conversations: 400})
	blind := Start(t, Options{Seed: 1, Conversations: 400, Scopes: ScopeRead &^ ScopeTickets})
	n := 0
	for k := range s.Ledger().Tickets() {
		if !k.Conversation {
			continue
		}
		n++
		conv, ok := s.Ledger().Conversation(k.ID)
		if !ok || len(conv.Messages)-1 != len(k.Messages) || conv.UpdatedAt != k.UpdatedAt {
			t.Errorf("ticket %s and its conversation differ", k.ID)
		}
		if o := get(t, s, "/conversations/"+k.ID).json["ticket"]; o == nil {
			t.Errorf("conversation %s does not say that it is a ticket", k.ID)
		}
		if r := get(t, blind, "/conversations/"+k.ID); r.status != 404 {
			t.Errorf("without the right to read tickets conversation %s is %d", k.ID, r.status)
		}
	}
	if n == 0 {
		t.Error("no ticket is a conversation")
	}
	if got := get(t, blind, "/conversations").total(); got != 400-n {
		t.Errorf("without the right to read tickets there are %d conversations, want %d", got, 400-n)
	}
	// Search words of categories differ from the objects'.
	total := 0
	for _, word := range []string{"request", "task", "tracker"} {
		total += ask(t, s, "POST", "/tickets/search", `{"query":{"field":"category","operator":"=","value":"`+word+`"}}`).total()
	}
	if total != s.Ledger().Counts().Tickets {
		t.Errorf("the three categories have %d tickets, want %d", total, s.Ledger().Counts().Tickets)
	}
}

func TestOlderVersionsHaveOlderShapes(t *testing.T) {
	s := Start(t, Options{Seed: 1, Conversations: 200})
	var ticket, conversation string
	for k := range s.Ledger().Tickets() {
		ticket = k.ID
	}
	for c := range s.Ledger().Conversations() {
		if c.Company != "" {
			conversation = c.ID
		}
	}
	o := get(t, s, "/tickets/"+ticket, "Intercom-Version: 2.11").json
	if _, text := o["ticket_state"].(string); !text || o["ticket_state_internal_label"] == nil {
		t.Errorf("ticket_state of 2.11: %v", o["ticket_state"])
	}
	if _, text := o["admin_assignee_id"].(string); !text {
		t.Errorf("admin_assignee_id of 2.11: %v", o["admin_assignee_id"])
	}
	c := get(t, s, "/conversations/"+conversation, "Intercom-Version: 2.14").json
	if _, there := c["company"]; there || c["channel"] != nil || !strings.Contains(fmt.Sprint(c["priority"]), "priority") {
		t.Errorf("conversation of 2.14: company %v, channel %v, priority %v", c["company"], c["channel"], c["priority"])
	}
	c = get(t, s, "/conversations/"+conversation).json
	if c["company"] == nil || c["channel"] == nil || strings.Contains(fmt.Sprint(c["priority"]), "priority") {
		t.Errorf("conversation of 2.16: company %v, channel %v, priority %v", c["company"], c["channel"], c["priority"])
	}
}
