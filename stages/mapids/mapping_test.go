package mapids

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
	"haloingest/pipeline/record"
)

var _ pipeline.Stage[record.Item, record.Change] = (*Stage)(nil)

func say(speaker, kind, text string) record.Message {
	return record.Message{ID: speaker + kind, Speaker: speaker, Kind: kind, Text: text}
}

func TestOutcome(t *testing.T) {
	ask := say("user", "source", "help")
	answer := say("agent", "comment", "sure")
	for _, c := range []struct {
		name, state, ai string
		messages        []record.Message
		want            string
	}{
		{"the AI agent resolved it, as it assumes", "closed", "assumed_resolution", nil, "resolved"},
		{"the AI agent resolved it, as the customer says", "open", "confirmed_resolution", nil, "resolved"},
		{"escalated", "open", "escalated", nil, "escalated"},
		{"escalated, in the words of before 2.15", "closed", "routed_to_team", []record.Message{ask, answer}, "escalated"},
		{"handed over by a procedure", "closed", "procedure_handoff", nil, "escalated"},
		{"the customer was not content", "closed", "negative_feedback", nil, "abandoned"},
		{"the same, in the words of before 2.15", "closed", "abandoned", nil, "abandoned"},
		{"an unknown state of the AI agent counts as none", "closed", "confused", []record.Message{ask, answer}, "resolved"},
		{"closed and answered", "closed", "", []record.Message{ask, answer}, "resolved"},
		{"closed and answered by a bot", "closed", "", []record.Message{ask, say("bot", "comment", "hi")}, "resolved"},
		{"closed, and nobody answered", "closed", "", []record.Message{ask, say("system", "assignment", ""), say("agent", "note", "spam")}, "abandoned"},
		{"closed, and the answer came before the question", "closed", "", []record.Message{say("agent", "source", "news!"), say("user", "comment", "hm?")}, "abandoned"},
		{"an outbound message that nobody answered", "closed", "", []record.Message{say("agent", "source", "news!")}, ""},
		{"open", "open", "", []record.Message{ask, answer}, ""},
		{"snoozed", "snoozed", "", []record.Message{ask, answer}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := &record.Conversation{ID: "1", State: c.state, Messages: c.messages, HeldParts: len(c.messages), ExpectedParts: len(c.messages)}
			if c.ai != "" {
				in.AIAgent = &record.AIAgent{ResolutionState: c.ai}
			}
			if got := mapped(t, Config{}, in).Transcript.Outcome; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestStateOfATranscript(t *testing.T) {
	for _, c := range []struct {
		state, status string
		ended         bool
	}{{"closed", "completed", true}, {"open", "active", false}, {"snoozed", "active", false}, {"pending_review", "active", false}, {"", "active", false}} {
		in := &record.Conversation{ID: "1", State: c.state, CreatedAt: day(1), LastClosedAt: day(2)}
		r := mapped(t, Config{}, in).Transcript
		if r.Status != c.status || r.EndedAt.IsZero() == c.ended || !r.StartedAt.Equal(day(1)) || r.SessionID != "intercom_1" {
			t.Errorf("%q: %+v", c.state, r)
		}
	}
}

func TestCountsOfATranscript(t *testing.T) {
	opening, part := say("user", "source", "x"), say("agent", "comment", "y")
	for _, c := range []struct {
		name                 string
		in                   record.Conversation
		count, expected      int
		complete, incomplete bool
	}{
		{"all there", record.Conversation{Messages: []record.Message{opening, part}, HeldParts: 1, ExpectedParts: 1}, 2, 2, true, false},
		{"no opening message", record.Conversation{Messages: []record.Message{part}, HeldParts: 1, ExpectedParts: 1}, 1, 1, true, false},
		{"parts are missing", record.Conversation{Messages: []record.Message{opening, part}, HeldParts: 1, ExpectedParts: 9}, 2, 10, false, true},
		{"parts may be missing", record.Conversation{Messages: []record.Message{opening, part}, HeldParts: 1, ExpectedParts: 1, Truncated: true}, 2, 2, false, true},
		{"more than expected", record.Conversation{Messages: []record.Message{opening, part}, HeldParts: 1, ExpectedParts: 0}, 2, 1, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.in.ID = "1"
			r := mapped(t, Config{}, &c.in).Transcript
			_, marked := object(t, r.Metadata)["incomplete"]
			if r.MessageCount != c.count || r.ExpectedMessageCount != c.expected || r.Complete != c.complete || marked != c.incomplete {
				t.Errorf("got %d of %d, complete %t, marked %t", r.MessageCount, r.ExpectedMessageCount, r.Complete, marked)
			}
		})
	}
}

func TestMetadataOfATranscript(t *testing.T) {
	in := &record.Conversation{
		ID: "1", Title: "T", Subject: "S", State: "closed", Priority: "high", Channel: "email", DeliveredAs: "customer_initiated", SourceURL: "https://x.example",
		AdminAssignee: "7", TeamAssignee: "9", Contacts: []record.Ref{{ID: "c2"}, {ID: "c1"}}, Company: "k1", CompanyName: "Acme",
		Tags: []record.Named{{ID: "5", Name: "vip"}, {ID: "6"}, {ID: "4", Name: "a"}}, Rating: &record.Rating{Score: 4, Remark: "ok", AdminID: "7", CreatedAt: day(3)},
		AIAgent: &record.AIAgent{Source: "workflow", ResolutionState: "escalated"}, TicketID: "1", LinkedTickets: []string{"77"},
		LinkedOthers: []record.LinkedObject{{Type: "conversation", ID: "78"}}, Custom: map[string]json.RawMessage{"Topic": raw(`"Export"`)},
		Messages:  []record.Message{{ID: "9", Kind: "comment", Redacted: true}},
		HeldParts: 1, ExpectedParts: 3, WaitingSince: day(4), SnoozedUntil: day(5), FirstContact: day(1),
	}
	r := mapped(t, Config{}, in).Transcript
	want := object(t, raw(`{"source":"intercom","intercom_conversation_id":"1","title":"T","state":"closed","priority":"high","channel":"email","delivered_as":"customer_initiated","url":"https://x.example",
		"assignee":{"id":"7","name":"Ciaran Lee"},"team":{"id":"9"},"contacts":["c2","c1"],"company":{"id":"k1","name":"Acme"},"tags":["6","a","vip"],
		"rating":{"score":4,"remark":"ok","created_at":"2024-03-03T12:00:00Z","teammate":{"id":"7","name":"Ciaran Lee"}},
		"ai_agent":{"source_type":"workflow","resolution_state":"escalated"},"ticket_id":"1","linked_tickets":["77"],"linked_objects":[{"type":"conversation","id":"78"}],
		"custom_attributes":{"Topic":"Export"},"redacted":["9"],"incomplete":{"expected":3,"held":1},
		"waiting_since":"2024-03-04T12:00:00Z","snoozed_until":"2024-03-05T12:00:00Z","first_contact_reply_at":"2024-03-01T12:00:00Z"}`))
	if diff := cmp.Diff(want, object(t, r.Metadata)); diff != "" {
		t.Error(diff)
	}
	if r.ContactID != "c2" || r.CompanyID != "k1" || r.Subject != "S" {
		t.Errorf("got %+v", r)
	}
	bare := mapped(t, Config{}, &record.Conversation{ID: "1"}).Transcript
	if diff := cmp.Diff(`{"intercom_conversation_id":"1","source":"intercom"}`, string(bare.Metadata)); diff != "" {
		t.Errorf("of a bare conversation: %s", diff)
	}
}

func TestWhatTheDistillerIsTold(t *testing.T) {
	in := &record.Conversation{
		ID: "1", State: "closed", CompanyName: "Acme", Contacts: []record.Ref{{ID: "c1"}}, Rating: &record.Rating{Score: 5}, Tags: []record.Named{{ID: "5", Name: "vip"}, {ID: "6"}},
		Messages: []record.Message{
			{ID: "0", Kind: "source", Speaker: "agent", AuthorID: "7", AuthorName: "Ciaran", AuthorEmail: "ciaran@example.com"},
			{ID: "1", Kind: "comment", Speaker: "user", AuthorID: "c9", AuthorName: "Eve", AuthorEmail: "eve@example.com"},
			{ID: "2", Kind: "comment", Speaker: "user", AuthorID: "c1", AuthorName: "", AuthorEmail: "ann@example.com"},
			{ID: "3", Kind: "comment", Speaker: "user", AuthorID: "c1", AuthorName: "Ann"},
		},
		HeldParts: 3, ExpectedParts: 3,
	}
	want := record.DistillInput{CustomerName: "Ann", CustomerEmail: "ann@example.com", CompanyName: "Acme", State: "closed", RatingScore: 5, Tags: []string{"vip"}}
	if diff := cmp.Diff(want, mapped(t, Config{}, in).Transcript.Distill); diff != "" {
		t.Error(diff)
	}
}

func TestTickets(t *testing.T) {
	for _, c := range []struct {
		name string
		in   record.Ticket
		want record.TicketRow
	}{
		{"submitted", record.Ticket{ID: "1", StateCategory: "submitted", Title: "T", Description: "D", Number: "38"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "T", Message: "D", Number: "38"}},
		{"in progress", record.Ticket{ID: "1", StateCategory: "in_progress", Title: "T"}, record.TicketRow{Status: "in_progress", Priority: "normal", Subject: "T", Message: "T"}},
		{"waiting", record.Ticket{ID: "1", StateCategory: "waiting_on_customer", Title: "T"}, record.TicketRow{Status: "snoozed", Priority: "normal", Subject: "T", Message: "T"}},
		{"resolved", record.Ticket{ID: "1", StateCategory: "resolved", Title: "T", ResolvedAt: day(3)}, record.TicketRow{Status: "resolved", Priority: "normal", Subject: "T", Message: "T", ResolvedAt: day(3)}},
		{"resolved, but no part says when", record.Ticket{ID: "1", StateCategory: "resolved", Title: "T", UpdatedAt: day(4)}, record.TicketRow{Status: "resolved", Priority: "normal", Subject: "T", Message: "T", ResolvedAt: day(4)}},
		{"resolved before its last change", record.Ticket{ID: "1", StateCategory: "resolved", Title: "T", ResolvedAt: day(3), UpdatedAt: day(4)}, record.TicketRow{Status: "resolved", Priority: "normal", Subject: "T", Message: "T", ResolvedAt: day(3)}},
		{"not resolved", record.Ticket{ID: "1", StateCategory: "in_progress", Title: "T", UpdatedAt: day(4)}, record.TicketRow{Status: "in_progress", Priority: "normal", Subject: "T", Message: "T"}},
		{"an unknown state", record.Ticket{ID: "1", StateCategory: "on_hold", Title: "T"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "T", Message: "T"}},
		{"no state", record.Ticket{ID: "1", Title: "T"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "T", Message: "T"}},
		{"priorities", record.Ticket{ID: "1", Title: "T", Priority: "urgent"}, record.TicketRow{Status: "open", Priority: "priority", Subject: "T", Message: "T"}},
		{"no title", record.Ticket{ID: "1", Title: " ", TypeName: "Bug", Number: "38"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "Bug #38", Message: "Bug #38", Number: "38"}},
		{"no title, type or number", record.Ticket{ID: "1"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "Ticket #1", Message: "Ticket #1"}},
		{"a Customer ticket is a conversation", record.Ticket{ID: "1", Title: "T", Category: "Customer", Contacts: []record.Ref{{ID: "c1"}}, Company: "k1"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "T", Message: "T", Category: "Customer", ConversationID: "1", ContactID: "c1", CompanyID: "k1"}},
		{"a Back-office ticket is none", record.Ticket{ID: "1", Title: "T", Category: "Back-office"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "T", Message: "T", Category: "Back-office"}},
		{"an admin is the assignee", record.Ticket{ID: "1", Title: "T", AdminAssignee: "7", TeamAssignee: "8"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "T", Message: "T", Assignee: "Ciaran Lee"}},
		{"a team is the assignee", record.Ticket{ID: "1", Title: "T", TeamAssignee: "8"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "T", Message: "T", Assignee: "Support"}},
		{"an unknown admin is its id", record.Ticket{ID: "1", Title: "T", AdminAssignee: "99"}, record.TicketRow{Status: "open", Priority: "normal", Subject: "T", Message: "T", Assignee: "99"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := *mapped(t, Config{}, &c.in).Ticket
			c.want.Head = got.Head
			c.want.MessagesJSON = raw("[]")
			got.Metadata = nil
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMetadataOfATicket(t *testing.T) {
	in := &record.Ticket{
		ID: "1", Category: "Customer", TypeID: "95", TypeName: "Bug", StateID: "8540", StateCategory: "on_hold", StateLabel: "Waiting", Priority: "low", AdminAssignee: "7", TeamAssignee: "8",
		Attributes: map[string]json.RawMessage{"Severity": raw(`"high"`)}, Contacts: []record.Ref{{ID: "c1"}}, Company: "k1", Open: true, Shared: true,
		Linked: []record.LinkedObject{{Type: "conversation", ID: "5", Category: "Customer"}}, SnoozedUntil: day(5), HeldParts: 500, ExpectedParts: 500, Truncated: true,
	}
	want := object(t, raw(`{"source":"intercom","intercom_ticket_id":"1","category":"Customer","type":{"id":"95","name":"Bug"},"state":"on_hold","state_id":"8540","state_label":"Waiting","priority":"low",
		"assignee":{"id":"7","name":"Ciaran Lee"},"team":{"id":"8","name":"Support"},"attributes":{"Severity":"high"},"contacts":["c1"],"company":"k1","open":true,"shared":true,
		"linked_objects":[{"type":"conversation","id":"5","category":"Customer"}],"snoozed_until":"2024-03-05T12:00:00Z","incomplete":{"held":500}}`))
	if diff := cmp.Diff(want, object(t, mapped(t, Config{}, in).Ticket.Metadata)); diff != "" {
		t.Error(diff)
	}
}

func TestContacts(t *testing.T) {
	in := &record.Contact{
		ID: "c1", Role: "user", Name: " Ann ", Email: "ann@example.com", Phone: "+49", Avatar: "https://x.example/a.png", OwnerID: "7", Language: "de", Country: "Germany", Region: "Berlin", City: "Berlin",
		Unsubscribed: true, Bounced: true, Tags: []record.Named{{ID: "5", Name: "vip"}}, Custom: map[string]json.RawMessage{"plan": raw(`"pro"`), "mrr": raw("5"), "email": raw(`"x"`)},
		CreatedAt: day(1), UpdatedAt: day(2), LastSeenAt: day(3), LastRepliedAt: day(4), LastContactedAt: day(5),
	}
	r := mapped(t, Config{}, in).EndUser
	if r.Name != "Ann" || r.Role != "user" || !r.SignedUpAt.Equal(day(1)) || !r.FirstSeen.Equal(day(1)) || !r.LastSeen.Equal(day(3)) || !r.LastContactedAt.Equal(day(5)) || !r.SourceUpdatedAt.Equal(day(2)) {
		t.Errorf("got %+v", r)
	}
	if diff := cmp.Diff(`{"email":"x","mrr":5,"plan":"pro"}`, string(r.CustomFields)); diff != "" {
		t.Errorf("custom attributes named like columns must land in custom_fields and nowhere else: %s", diff)
	}
	want := object(t, raw(`{"intercom_phone":{"label":"Phone","type":"custom","value":"+49"},"intercom_owner":{"label":"Owner","type":"relationship","value":"Ciaran Lee"},
		"intercom_language":{"label":"Language","type":"config","value":"de"},"intercom_location":{"label":"Location","type":"custom","value":"Berlin, Germany"},
		"intercom_unsubscribed":{"label":"Unsubscribed from e-mails","type":"status","value":true},"intercom_email_bounced":{"label":"E-mail bounces","type":"status","value":true},
		"intercom_tags":{"label":"Tags","type":"list","value":["vip"]},"intercom_last_replied_at":{"label":"Last replied","type":"metric","value":"2024-03-04T12:00:00Z"}}`))
	if diff := cmp.Diff(want, object(t, r.Context)); diff != "" {
		t.Error(diff)
	}
	signed := *in
	signed.SignedUpAt = day(9)
	if got := mapped(t, Config{}, &signed).EndUser.SignedUpAt; !got.Equal(day(9)) {
		t.Errorf("signed up at %v", got)
	}
}

// haloTypes are the types of context entries that Halo knows (halo.md, section 3.2).
var haloTypes = map[any]bool{"list": true, "integration": true, "error": true, "status": true, "config": true, "feature": true, "metric": true, "relationship": true, "custom": true}

func TestEveryContextEntryHasTheFormThatHaloKnows(t *testing.T) {
	long := strings.Repeat("x", 15_000)
	contact := &record.Contact{ID: "c", Phone: "1", Language: "de", City: "B", OwnerID: "1", Spam: true, Bounced: true, Tags: []record.Named{{ID: "1"}}, Companies: []record.Ref{{ID: "1"}, {ID: "2"}}, LastRepliedAt: day(1), ExternalID: "e", Name: long}
	company := &record.Company{ID: "k", Website: "x", Tags: []record.Named{{ID: "1"}}, Segments: []record.Named{{ID: "1"}}, CompanyID: "e", Name: long}
	c := Config{UserIDField: "id", CompanyIDField: "id"}
	for _, doc := range []json.RawMessage{mapped(t, c, contact).EndUser.Context, mapped(t, c, company).Company.Context} {
		for key, v := range object(t, doc) {
			e, _ := v.(map[string]any)
			if !strings.HasPrefix(key, "intercom_") || len(e) != 3 || e["label"] == "" || !haloTypes[e["type"]] || e["value"] == nil {
				t.Errorf("%s: %v", key, v)
			}
		}
		if object(t, doc)["intercom_truncated"] == nil {
			t.Errorf("the cut name is not marked in %s", doc)
		}
	}
}

func TestCompanies(t *testing.T) {
	in := &record.Company{
		ID: "k1", CompanyID: "org-7", Name: "Acme", Plan: "Pro", Size: 85, Website: "https://www.acme.example/about", Industry: "Tools", MonthlySpend: raw("12.5"), SessionCount: 3, UserCount: 0,
		Segments: []record.Named{{ID: "s", Name: "Active"}}, Custom: map[string]json.RawMessage{"cluster": raw(`"eu"`)}, CreatedAt: day(2), UpdatedAt: day(3), SignedUpAt: day(1), LastRequestAt: day(4),
	}
	r := mapped(t, Config{}, in).Company
	if r.Domain != "acme.example" || r.EmployeeCount != 85 || r.Plan != "Pro" || !r.SignedUpAt.Equal(day(1)) || !r.LastRequestAt.Equal(day(4)) || r.ExternalID != "org-7" {
		t.Errorf("got %+v", r)
	}
	if diff := cmp.Diff(`{"cluster":"eu","monthly_spend":12.5}`, string(r.CustomFields)); diff != "" {
		t.Error(diff)
	}
	in.Custom["monthly_spend"] = raw(`"ask"`)
	if diff := cmp.Diff(`{"cluster":"eu","monthly_spend":"ask"}`, string(mapped(t, Config{}, in).Company.CustomFields)); diff != "" {
		t.Errorf("a custom attribute of that name must stay: %s", diff)
	}
	if _, changed := in.Custom["intercom"]; changed || len(in.Custom) != 2 {
		t.Error("the record was changed")
	}
	in.SignedUpAt = time.Time{}
	if got := mapped(t, Config{}, in).Company.SignedUpAt; !got.Equal(day(2)) {
		t.Errorf("signed up at %v", got)
	}
}

func TestDomains(t *testing.T) {
	for website, want := range map[string]string{
		"https://www.acme.example/about?x=1": "acme.example",
		"acme.example":                       "acme.example",
		"  HTTP://WWW.ACME.EXAMPLE:8080 ":    "acme.example",
		"//cdn.acme.example/x":               "cdn.acme.example",
		"https://Bücher.example":             "xn--bcher-kva.example",
		"acme.example.":                      "acme.example",
		"www.example":                        "",
		"n/a":                                "",
		"localhost":                          "",
		"http://10.0.0.1/":                   "",
		"http://[2001:db8::1]/":              "",
		"http://1.2.3":                       "",
		"none of your business":              "",
		"http://":                            "",
		"":                                   "",
		"http://a..example":                  "",
		"http://%zz":                         "",
		"http://-x.example":                  "",
	} {
		if got := domain(website); got != want {
			t.Errorf("%q: got %q, want %q", website, got, want)
		}
	}
}

func TestTombstonesCarryTheirVersion(t *testing.T) {
	gone := func(o record.Object) record.Item {
		o.FetchedAt = fetched
		return record.Item{Object: &o}
	}
	result := process(t, Config{},
		gone(record.Object{Kind: record.KindConversation, ID: "1", Gone: record.GoneDeleted, GoneAt: day(2)}),
		gone(record.Object{Kind: record.KindContact, ID: "2", Gone: record.GoneMerged, MergedInto: "3"}),
		gone(record.Object{Kind: record.KindContact, ID: " ", Gone: record.GoneDeleted}),
		gone(record.Object{Kind: record.KindContact, ID: "2", Gone: "away"}),
	)
	if len(result.Items) != 2 || len(result.Rejects) != 2 {
		t.Fatalf("%d changes, %d rejects", len(result.Items), len(result.Rejects))
	}
	a, b := result.Items[0], result.Items[1]
	if diff := cmp.Diff(record.Version{UpdatedAt: day(2), FetchedAt: fetched, Rank: 1}, a.Version); diff != "" || !a.Gone.At.Equal(day(2)) || a.SourceID != "1" {
		t.Errorf("%s %+v", diff, a)
	}
	if diff := cmp.Diff(record.Version{UpdatedAt: fetched, FetchedAt: fetched, Rank: 1}, b.Version); diff != "" || !b.Gone.At.IsZero() || b.Gone.MergedInto != "3" {
		t.Errorf("%s %+v", diff, b)
	}
}

func TestNothingInARowDependsOnWhenItWasRead(t *testing.T) {
	items := func(at time.Time) []record.Item {
		list := []record.Item{
			itemOf(&record.Contact{ID: "1", Email: "a@b.example", UpdatedAt: day(1)}), itemOf(&record.Company{ID: "1"}),
			itemOf(&record.Conversation{ID: "1", State: "closed"}), itemOf(&record.Ticket{ID: "1"}),
		}
		for _, i := range list {
			i.Object.FetchedAt, i.Object.Request, i.Object.APIVersion = at, at.String(), at.String()
		}
		return list
	}
	a, b := process(t, Config{}, items(day(1))...), process(t, Config{}, items(day(20))...)
	for i := range a.Items {
		a.Items[i].Object, b.Items[i].Object = nil, nil
		a.Items[i].Version.FetchedAt, b.Items[i].Version.FetchedAt = time.Time{}, time.Time{}
		if diff := cmp.Diff(a.Items[i], b.Items[i]); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAnItemThatSaysNothingIsRejected(t *testing.T) {
	result := process(t, Config{}, record.Item{}, record.Item{Object: &record.Object{Kind: record.KindTicket, ID: "5", Body: []byte("{}")}})
	if len(result.Rejects) != 2 {
		t.Fatalf("%d rejects", len(result.Rejects))
	}
	if r := result.Rejects[1]; r.Stage != "map-ids" || r.ID != "5" || r.Kind != "ticket" || string(r.Payload) != "{}" || !strings.Contains(r.Reason, "ticket 5") {
		t.Errorf("got %+v", r)
	}
}

func TestTheStageKeepsThePromisesOfAStage(t *testing.T) {
	s, err := New(Config{Org: org, Reference: reference})
	if err != nil {
		t.Fatal(err)
	}
	pipetest.CheckStage(t, s, func() []record.Item {
		return []record.Item{
			itemOf(&record.Contact{ID: "1", Email: "a@b.example", Name: strings.Repeat("x", 2000)}), itemOf(&record.Company{ID: "1", MonthlySpend: raw("1")}), {},
			itemOf(&record.Conversation{ID: "1", Custom: map[string]json.RawMessage{"a": raw("1")}, Messages: []record.Message{say("user", "source", "x")}}), itemOf(&record.Ticket{ID: "1"}),
			{Object: &record.Object{Kind: record.KindContact, ID: "9", Gone: record.GoneDeleted}},
		}
	})
}

func TestWhenTheContextIsDoneTheStageStops(t *testing.T) {
	s, err := New(Config{Org: org})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Process(ctx, []record.Item{itemOf(&record.Ticket{ID: "1"})}); err == nil {
		t.Error("no error")
	}
}
