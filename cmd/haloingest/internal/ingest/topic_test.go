package ingest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"haloingest/sources/intercom/intercomtest"
	"haloingest/sources/webhook"
)

// TestEveryTopicEndsInTheRightRow sends one delivery of each topic over the real handler, drains the inbox and looks at the row. What the delivery says of
// the object is wrong on purpose: it only names it.
func TestEveryTopicEndsInTheRightRow(t *testing.T) {
	t.Parallel()
	began := time.Now().Add(-time.Hour)
	sim := intercomtest.Start(t, intercomtest.Options{Seed: 11, Conversations: 12, Tickets: 60, Oddities: -1, SilentRedaction: true, Now: func() time.Time { return began }})
	p := newPlace(t, sim)
	p.backfill(false)
	_, srv := p.receive(intercomtest.Webhooks{})
	sim.SendWebhooks(intercomtest.Webhooks{}) // the test sends them itself
	serial := 0
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id := func(v string, err error) string {
		t.Helper()
		must(err)
		return v
	}
	send := func(topic, item string) {
		t.Helper()
		if !webhook.Known(topic) {
			t.Errorf("%s leads to no work", topic)
		}
		serial++
		body := event(fmt.Sprintf("n-%d", serial), topic, item)
		if status := post(t, srv.Client(), hookURL(srv.URL), bytes.NewReader(body), sign(body)); status != 200 {
			t.Fatalf("%s: status %d", topic, status)
		}
		if report := p.drain(); report.Deliveries != 1 || report.Done != 1 || report.Later+report.Parked != 0 {
			t.Errorf("%s: drained %+v", topic, report)
		}
	}
	is := func(topic, query string, args ...any) {
		t.Helper()
		if !scalar[bool](p, `SELECT coalesce((`+query+`), false)`, args...) {
			t.Errorf("%s: the row is not as it should be", topic)
		}
	}
	contact := func(fields map[string]any) string {
		fields["role"] = "user"
		return id(sim.CreateContact(fields))
	}
	customer := contact(map[string]any{"name": "Customer", "email": "customer@example.com"})
	send("contact.user.created", fmt.Sprintf(`{"type":"contact","id":%q}`, customer))
	person := `SELECT u.deleted_at IS NULL AND u.source = 'intercom' AND u.name = $2 FROM ingest.id_map m JOIN public.end_users u ON u.org_id = m.org_id AND u.id = m.row_id
		WHERE m.kind = 'contact' AND m.source_id = $1`

	// The documented eight, and what they are called today.
	for _, topic := range []string{"contact.created", "user.created", "contact.user.created", "contact.lead.created"} {
		typ := map[bool]string{true: "user", false: "contact"}[strings.HasPrefix(topic, "user.")]
		c := contact(map[string]any{"name": "Made by " + topic, "email": topic + "@example.com"})
		send(topic, fmt.Sprintf(`{"type":%q,"id":%q,"name":"somebody else","email":"evil@example.com"}`, typ, c))
		is(topic, person, c, "Made by "+topic)
	}
	for _, topic := range []string{"contact.updated", "contact.user.updated", "contact.lead.updated", "user.updated", "contact.email.updated", "contact.lead.signed_up",
		"contact.user.tag.created", "contact.archived", "contact.subscribed", "visitor.signed_up"} {
		must(sim.UpdateContact(customer, map[string]any{"name": "Named by " + topic}))
		item := fmt.Sprintf(`{"type":"contact","id":%q,"name":"somebody else"}`, customer)
		if strings.Contains(topic, ".tag.") {
			item = fmt.Sprintf(`{"type":"contact_tag","contact":%s,"tag":{"type":"tag","id":"1","name":"VIP"}}`, item)
		}
		send(topic, item)
		is(topic, person, customer, "Named by "+topic)
	}
	talk := `SELECT t.deleted_at IS NULL AND t.metadata->>'source' = 'intercom' AND t.end_user_id IS NOT NULL AND t.message_count = $2 AND t.messages::text LIKE '%' || $3 || '%'
		FROM public.transcripts t WHERE t.source_id = $1`
	said := func(topic string) string { return "Said before " + strings.ReplaceAll(topic, ".", " ") }
	item := func(typ, id string) string {
		return fmt.Sprintf(`{"type":%q,"id":%q,"conversation_parts":{"conversation_parts":[]}}`, typ, id)
	}
	chat := id(sim.CreateConversation(customer, said("conversation.user.created")))
	send("conversation.user.created", item("conversation", chat))
	is("conversation.user.created", talk, chat, 1, said("conversation.user.created"))
	messages := 1
	for topic, by := range map[string]string{"conversation.user.replied": "user", "conversation.admin.replied": "admin", "conversation.operator.replied": "bot"} {
		messages++
		id(sim.Reply(chat, by, said(topic)))
		send(topic, item("conversation", chat))
		is(topic, talk, chat, messages, said(topic))
	}
	var tickets []string
	for c := range sim.Ledger().Tickets() {
		if c.State != "resolved" && !c.Conversation {
			tickets = append(tickets, c.ID)
		}
	}
	if len(tickets) < 6 {
		t.Fatalf("%d tickets are open", len(tickets))
	}
	tally := `SELECT t.deleted_at IS NULL AND t.metadata->>'source' = 'intercom' AND t.status = $2 FROM public.tickets t WHERE t.source_id = $1`
	if _, err := p.db.Pool().Exec(t.Context(), `DELETE FROM public.tickets WHERE source_id = $1`, tickets[0]); err != nil {
		t.Fatal(err)
	}
	send("ticket.created", item("ticket", tickets[0])) // the simulator makes none
	is("ticket.created", `SELECT t.deleted_at IS NULL AND t.metadata->>'source' = 'intercom' FROM public.tickets t WHERE t.source_id = $1`, tickets[0])
	for i, topic := range []string{"ticket.state.updated", "ticket.closed", "ticket.resolved"} {
		rows := scalar[int](p, `SELECT count(*) FROM public.tickets`)
		must(sim.SetTicketState(tickets[i], "resolved"))
		send(topic, item("ticket", tickets[i]))
		is(topic, tally, tickets[i], "resolved")
		if n := scalar[int](p, `SELECT count(*) FROM public.tickets`); n != rows {
			t.Errorf("%s: %d tickets more", topic, n-rows)
		}
	}
	must(sim.Set(intercomtest.Tickets, tickets[0], map[string]json.RawMessage{"title": json.RawMessage(`"Another title"`)}))
	send("ticket.attribute.updated", fmt.Sprintf(`{"type":"ticket_attribute","ticket":%s}`, item("ticket", tickets[0])))
	is("ticket.attribute.updated", `SELECT subject = 'Another title' FROM public.tickets WHERE source_id = $1`, tickets[0])

	// Notes, closings, reopenings and redactions.
	must(sim.Note(chat, "Only for us, 5550111."))
	send("conversation.admin.noted", item("conversation", chat))
	is("conversation.admin.noted", `SELECT messages::text LIKE '%5550111%' AND NOT EXISTS (SELECT FROM public.knowledge WHERE content LIKE '%5550111%')
		FROM public.transcripts WHERE source_id = $1`, chat)
	must(sim.Close(chat, "Solved."))
	send("conversation.admin.closed", item("conversation", chat))
	is("conversation.admin.closed", `SELECT status = 'completed' AND ended_at IS NOT NULL FROM public.transcripts WHERE source_id = $1`, chat)
	if _, err := sim.Apply(intercomtest.Change{Op: "reopen", Kind: intercomtest.Conversations, ID: chat}); err != nil {
		t.Fatal(err)
	}
	send("conversation.admin.opened", item("conversation", chat))
	is("conversation.admin.opened", `SELECT status = 'active' FROM public.transcripts WHERE source_id = $1`, chat)
	part := id(sim.Reply(chat, "user", "My card is 5550122."))
	send("conversation.user.replied", item("conversation", chat))
	is("conversation.user.replied", `SELECT count(*) > 0 FROM public.knowledge WHERE content LIKE '%5550122%'`)
	must(sim.Redact(chat, part))
	send("conversation_part.redacted", fmt.Sprintf(`{"type":"conversation_part","id":"1","conversation":%s}`, item("conversation", chat)))
	is("conversation_part.redacted", `SELECT NOT EXISTS (SELECT FROM public.knowledge WHERE content LIKE '%5550122%') AND NOT EXISTS (
		SELECT FROM public.transcripts t WHERE to_jsonb(t)::text LIKE '%5550122%')`)

	// Companies.
	firm := id(sim.CreateCompany(map[string]any{"name": "Acme", "company_id": "acme"}))
	named := `SELECT deleted_at IS NULL AND source = 'intercom' AND name = $2 FROM public.companies WHERE source_id = $1`
	send("company.created", item("company", firm))
	is("company.created", named, firm, "Acme")
	must(sim.UpdateCompany(firm, map[string]any{"name": "Acme Ltd"}))
	send("company.updated", item("company", firm))
	is("company.updated", named, firm, "Acme Ltd")
	belongs := `SELECT u.company_id IS NOT DISTINCT FROM (SELECT id FROM public.companies WHERE source_id = $2) FROM ingest.id_map m
		JOIN public.end_users u ON u.org_id = m.org_id AND u.id = m.row_id WHERE m.kind = 'contact' AND m.source_id = $1`
	both := fmt.Sprintf(`{"type":"company_contact","company":%s,"contact":%s}`, item("company", firm), item("contact", customer))
	must(sim.UpdateContact(customer, map[string]any{"companies": []string{firm}}))
	send("company.contact.attached", both)
	is("company.contact.attached", belongs, customer, firm)
	must(sim.UpdateContact(customer, map[string]any{"companies": []string{}}))
	send("company.contact.detached", both)
	is("company.contact.detached", belongs, customer, "none")

	// Merges and deletions. What tells of a deletion has nothing but an id.
	lead := contact(map[string]any{"name": "Lead", "email": "lead@example.com"})
	send("contact.lead.created", item("contact", lead))
	must(sim.MergeContacts(lead, customer))
	send("contact.merged", item("contact", customer))
	is("contact.merged", `SELECT a.row_id = b.row_id AND a.deleted_at IS NOT NULL AND b.deleted_at IS NULL FROM ingest.id_map a, ingest.id_map b
		WHERE a.kind = 'contact' AND b.kind = 'contact' AND a.source_id = $1 AND b.source_id = $2`, lead, customer)
	for topic, what := range map[string]struct {
		kind  intercomtest.Kind
		typ   string
		id    string
		table string
	}{
		"contact.deleted":      {intercomtest.Contacts, "contact", contact(map[string]any{"name": "Gone", "email": "gone@example.com"}), "end_users"},
		"user.deleted":         {intercomtest.Contacts, "user", contact(map[string]any{"name": "Left", "email": "left@example.com"}), "end_users"},
		"company.deleted":      {intercomtest.Companies, "company", firm, "companies"},
		"conversation.deleted": {intercomtest.Conversations, "conversation", chat, "transcripts"},
		"ticket.deleted":       {intercomtest.Tickets, "ticket", tickets[3], "tickets"},
	} {
		if what.kind == intercomtest.Contacts {
			send("contact.user.created", item("contact", what.id))
		}
		must(sim.Delete(what.kind, what.id))
		send(topic, fmt.Sprintf(`{"type":%q,"id":%q}`, what.typ, what.id))
		is(topic, `SELECT deleted_at IS NOT NULL FROM public.`+what.table+` WHERE source_id = $1`, what.id)
	}
	is("conversation.deleted", `SELECT NOT EXISTS (SELECT FROM public.knowledge k JOIN public.transcripts t ON t.org_id = k.org_id AND t.id = k.transcript_id WHERE t.source_id = $1)`, chat)

	// A late delivery of something older resurrects nothing, and every other topic leads to nothing worse than a read.
	send("conversation.user.replied", item("conversation", chat))
	is("conversation.user.replied, late", `SELECT deleted_at IS NOT NULL FROM public.transcripts WHERE source_id = $1`, chat)
	if n := scalar[int](p, `SELECT count(*) FROM ingest.rejects`) + scalar[int](p, `SELECT count(*) FROM ingest.webhook_inbox WHERE done_at IS NULL`); n != 0 {
		t.Errorf("%d rejects and deliveries that are not done with", n)
	}
}
