package extract

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

func process(t testing.TB, objects ...record.Object) pipeline.Result[record.Item] {
	t.Helper()
	result, err := New(Options{Reference: reference}).Process(context.Background(), objects)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Items)+len(result.Rejects) != len(objects) {
		t.Fatalf("%d objects became %d items and %d rejects", len(objects), len(result.Items), len(result.Rejects))
	}
	return result
}

// read reads one object that must pass.
func read(t testing.TB, kind record.Kind, body string) (record.Item, pipeline.Counts) {
	t.Helper()
	result := process(t, objectOf(kind, []byte(body)))
	if len(result.Rejects) > 0 {
		t.Fatalf("rejected: %s", result.Rejects[0].Reason)
	}
	return result.Items[0], result.Counts
}

func TestTimes(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		name, in string
		want     time.Time
		counted  bool
	}{
		{"seconds", `1700000000`, at("2023-11-14T22:13:20Z"), false},
		{"a fraction of a second", `1700000000.25`, at("2023-11-14T22:13:20.25Z"), false},
		{"seconds in exponent form", `1.7e9`, at("2023-11-14T22:13:20Z"), false},
		{"seconds as a text", `"1700000000"`, at("2023-11-14T22:13:20Z"), false},
		{"milliseconds", `1700000000123`, at("2023-11-14T22:13:20.123Z"), false},
		{"milliseconds as a fraction", `1700000000123.0`, at("2023-11-14T22:13:20.123Z"), false},
		{"microseconds", `1700000000123456`, at("2023-11-14T22:13:20.123456Z"), false},
		{"nanoseconds", `1700000000123456789`, at("2023-11-14T22:13:20.123456Z"), false},
		{"ISO 8601", `"2024-02-29T12:00:00Z"`, at("2024-02-29T12:00:00Z"), false},
		{"ISO 8601 in another zone", `"2024-02-29T12:00:00.123456789+02:00"`, at("2024-02-29T10:00:00.123456Z"), false},
		{"ISO 8601 with a zone without colon", `"2024-02-29T12:00:00+0200"`, at("2024-02-29T10:00:00Z"), false},
		{"a day", `"2024-02-29"`, at("2024-02-29T00:00:00Z"), false},
		{"Rails' form", `"2024-02-29 12:00:00 UTC"`, at("2024-02-29T12:00:00Z"), false},
		{"null", `null`, time.Time{}, false},
		{"zero", `0`, time.Time{}, false},
		{"an empty text", `" "`, time.Time{}, false},
		{"before 1970", `-5`, time.Time{}, true},
		{"the year 292277", `9223372036854775807000`, time.Time{}, true},
		{"the year 292277 in seconds", `9224318015999`, at("2262-04-22T22:33:35.999Z"), false}, // read as milliseconds
		{"the largest integer", `9223372036854775807`, at("2262-04-11T23:47:16.854775Z"), false},
		{"beyond every number", `1e400`, time.Time{}, true},
		{"Ruby's form", `"2024-02-29 12:00:00 +0200"`, at("2024-02-29T10:00:00Z"), false},
		{"HTTP's form", `"Thu, 29 Feb 2024 12:00:00 GMT"`, at("2024-02-29T12:00:00Z"), false},
		{"beyond every number, as a text", `"1e400"`, time.Time{}, true},
		{"MySQL's no date", `"0000-00-00 00:00:00"`, time.Time{}, true},
		{"the year 0", `"0000-01-01T00:00:00Z"`, time.Time{}, true},
		{"the year 10000 once in UTC", `"9999-12-31T23:59:59-12:00"`, time.Time{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			item, counts := read(t, record.KindCompany, `{"id":"1","created_at":`+c.in+`}`)
			if got := item.Company.CreatedAt; !got.Equal(c.want) || got.IsZero() != c.want.IsZero() || !got.IsZero() && got.Location() != time.UTC {
				t.Errorf("got %v, want %v", got, c.want)
			}
			n := int64(0)
			for name, k := range counts {
				if strings.HasPrefix(name, "unmapped/company/created_at=") {
					n += k
				}
			}
			if (n == 1) != c.counted {
				t.Errorf("counts are %v", counts)
			}
		})
	}
}

func TestOddContacts(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     record.Contact
		counts   pipeline.Counts
	}{
		{"nothing but an id, as a number", `{"id":7}`, record.Contact{ID: "7", Role: "lead"}, nil},
		{"a contact of API 1.x is a lead", `{"type":"contact","id":"7"}`, record.Contact{ID: "7", Role: "lead"}, nil},
		{"a user of API 1.x", `{"type":"user","id":"7","user_id":5}`, record.Contact{ID: "7", Role: "user", ExternalID: "5"}, nil},
		{"an unknown role is kept and counted", `{"id":"7","role":"visitor"}`, record.Contact{ID: "7", Role: "visitor"}, pipeline.Counts{"unmapped/contact/role=visitor": 1}},
		{"the owner may be a number, 0 is nobody", `{"id":"7","role":"lead","owner_id":0}`, record.Contact{ID: "7", Role: "lead"}, nil},
		{"names may be numbers and truth values", `{"id":"7","role":"lead","name":5,"email":true}`, record.Contact{ID: "7", Role: "lead", Name: "5", Email: "true"}, nil},
		{
			"null lists", `{"id":"7","role":"lead","tags":null,"companies":null,"custom_attributes":null,"location":null,"notes":null,"avatar":null,"name":null,"created_at":null}`,
			record.Contact{ID: "7", Role: "lead"}, nil,
		},
		{
			"objects that PHP writes as lists", `{"id":"7","role":"lead","custom_attributes":[],"location":[],"avatar":[],"owner_id":[]}`,
			record.Contact{ID: "7", Role: "lead"}, nil,
		},
		{
			"plain lists", `{"id":"7","role":"lead","tags":[{"id":5},"vip",{}],"companies":[{"id":"a"},{"id":null},"b"]}`,
			record.Contact{ID: "7", Role: "lead", Tags: []record.Named{{ID: "5", Name: "vip"}, {Name: "vip"}}, Companies: []record.Ref{{ID: "a"}}, CompanyTotal: 1},
			pipeline.Counts{"unmapped/contact/tags=(nameless)": 1, "unmapped/contact/companies=(reference without id)": 2},
		},
		{"Intercom counts more companies than it lists", `{"id":"7","role":"lead","companies":{"data":[{"id":"a"}],"total_count":14,"has_more":true}}`, record.Contact{ID: "7", Role: "lead", Companies: []record.Ref{{ID: "a"}}, CompanyTotal: 14}, nil},
		{"the last of doubled fields counts", `{"id":"7","role":"lead","name":"a","name":"b"}`, record.Contact{ID: "7", Role: "lead", Name: "b"}, nil},
		{"unknown fields are counted if they say something", `{"id":"7","role":"lead","weather":"rain","a":null,"b":[],"c":{},"d":"","e":0}`, record.Contact{ID: "7", Role: "lead"}, pipeline.Counts{"unmapped/contact/field/weather": 1, "unmapped/contact/field/e": 1}},
		{
			"an attribute that jsonb cannot hold is kept as its text", `{"id":"7","role":"lead","custom_attributes":{"n":1e999999,"ok":1.0}}`,
			record.Contact{ID: "7", Role: "lead", Custom: map[string]json.RawMessage{"n": []byte(`"1e999999"`), "ok": []byte("1")}},
			pipeline.Counts{"kept_as_text/contact": 1, "custom_attribute/contact/n": 1, "custom_attribute/contact/ok": 1},
		},
		{"truth as text", `{"id":"7","role":"lead","unsubscribed_from_emails":"true","has_hard_bounced":1,"marked_email_as_spam":"maybe"}`, record.Contact{ID: "7", Role: "lead", Unsubscribed: true, Bounced: true}, pipeline.Counts{"unmapped/contact/marked_email_as_spam=maybe": 1}},
		{"a text with NUL and half a face", `{"id":"7","role":"lead","name":"a\u0000b\ud83d"}`, record.Contact{ID: "7", Role: "lead", Name: "ab\uFFFD"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			item, counts := read(t, record.KindContact, c.in)
			if diff := cmp.Diff(&c.want, item.Contact); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.counts, counts); diff != "" {
				t.Errorf("counts: %s", diff)
			}
		})
	}
}

func TestOddCompanies(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     record.Company
	}{
		{"no plan is {}", `{"id":"1","plan":{}}`, record.Company{ID: "1"}},
		{"no plan is null", `{"id":"1","plan":null}`, record.Company{ID: "1"}},
		{"no plan is []", `{"id":"1","plan":[]}`, record.Company{ID: "1"}},
		{"a plan may be a text", `{"id":"1","plan":"Pro"}`, record.Company{ID: "1", Plan: "Pro"}},
		{"spend may be a decimal", `{"id":"1","monthly_spend":12.50}`, record.Company{ID: "1", MonthlySpend: []byte("12.5")}},
		{"spend may be a text", `{"id":"1","monthly_spend":" 12.50 "}`, record.Company{ID: "1", MonthlySpend: []byte("12.5")}},
		{"spend may be nonsense", `{"id":"1","monthly_spend":"lots"}`, record.Company{ID: "1"}},
		{"size may be a text or a fraction", `{"id":"1","size":"85","user_count":3.9}`, record.Company{ID: "1", Size: 85, UserCount: 3}},
		{"a size beyond an integer is none", `{"id":"1","size":9999999999,"session_count":-1}`, record.Company{ID: "1"}},
		{"company_id may be a number", `{"id":"1","company_id":25}`, record.Company{ID: "1", CompanyID: "25"}},
		{"lists under data", `{"id":"1","tags":{"data":[{"id":"5"}]},"segments":{"data":[{"id":"seg1"}]}}`, record.Company{ID: "1", Tags: []record.Named{{ID: "5", Name: "vip"}}, Segments: []record.Named{{ID: "seg1", Name: "Active"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			item, _ := read(t, record.KindCompany, c.in)
			if diff := cmp.Diff(&c.want, item.Company); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// partsOf reads a conversation of these parts and returns its messages.
func partsOf(t *testing.T, parts string) ([]record.Message, pipeline.Counts) {
	t.Helper()
	item, counts := read(t, record.KindConversation, `{"id":"1","created_at":1000,"conversation_parts":{"conversation_parts":[`+parts+`]}}`)
	return item.Conversation.Messages, counts
}

func TestSpeakers(t *testing.T) {
	for _, c := range []struct{ name, part, want string }{
		{"a user", `"part_type":"comment","body":"x","author":{"type":"user"}`, "user"},
		{"a lead", `"part_type":"comment","body":"x","author":{"type":"lead"}`, "user"},
		{"a contact", `"part_type":"comment","body":"x","author":{"type":"contact"}`, "user"},
		{"an admin", `"part_type":"comment","body":"x","author":{"type":"admin"}`, "agent"},
		{"a team", `"part_type":"comment","body":"x","author":{"type":"team"}`, "agent"},
		{"a bot", `"part_type":"comment","body":"x","author":{"type":"bot"}`, "bot"},
		{"an admin that is the AI agent", `"part_type":"comment","body":"x","author":{"type":"admin","from_ai_agent":true}`, "bot"},
		{"an answer by AI", `"part_type":"comment","body":"x","author":{"type":"admin","is_ai_answer":true,"from_ai_agent":false}`, "bot"},
		{"nobody", `"part_type":"comment","body":"x","author":null`, "system"},
		{"a stranger", `"part_type":"comment","body":"x","author":{"type":"ghost"}`, "system"},
		{"an admin who assigns", `"part_type":"assignment","body":null,"author":{"type":"admin"}`, "system"},
		{"an admin who assigns and says something", `"part_type":"assignment","body":"<p>take this</p>","author":{"type":"admin"}`, "agent"},
		{"an admin who closes with a file", `"part_type":"close","attachments":[{"name":"a"}],"author":{"type":"admin"}`, "agent"},
		{"a user with a body of nothing", `"part_type":"open","body":"<p> &nbsp;</p>","author":{"type":"user"}`, "system"},
		{"an empty comment", `"part_type":"comment","body":"","author":{"type":"user"}`, "user"},
		{"an empty note", `"part_type":"note","body":null,"author":{"type":"admin"}`, "agent"},
		{"a redacted answer", `"part_type":"quick_reply","body":"gone","redacted":true,"author":{"type":"user"}`, "user"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := partsOf(t, `{"id":"5",`+c.part+`}`)
			if len(m) != 1 || m[0].Speaker != c.want {
				t.Errorf("got %+v, want %s", m, c.want)
			}
		})
	}
}

func TestChosenAnswers(t *testing.T) {
	const offer = `{"id":"1","part_type":"comment","body":"What is it?","author":{"type":"bot"},"metadata":{"quick_reply_options":[{"text":"Track my order"},{"text":" Talk to a person "},7]}}`
	const other = `{"id":"2","part_type":"note","body":"hm","author":{"type":"admin"}}`
	for _, c := range []struct {
		name, parts string
		want        bool
	}{
		{"a button", `{"id":"9","part_type":"quick_reply","body":"<p>Yes</p>","author":{"type":"user"}}`, true},
		{"a comment with a button's id", offer + `,{"id":"9","part_type":"comment","body":"x","author":{"type":"user"},"metadata":{"quick_reply_uuid":"u"}}`, true},
		{"the words of an offer", offer + `,` + other + `,{"id":"9","part_type":"comment","body":"<p>talk to a person</p>","author":{"type":"lead"}}`, true},
		{"other words", offer + `,{"id":"9","part_type":"comment","body":"Where is it?","author":{"type":"user"}}`, false},
		{"the words of an offer that was passed over", offer + `,{"id":"8","part_type":"comment","body":"No","author":{"type":"user"}},{"id":"9","part_type":"comment","body":"Track my order","author":{"type":"user"}}`, false},
		{"the words without an offer", `{"id":"9","part_type":"comment","body":"Track my order","author":{"type":"user"}}`, false},
		{"an admin's buttons", `{"id":"9","part_type":"quick_reply","body":"Yes or no?","author":{"type":"admin"},"metadata":{"quick_reply_options":[{"text":"Yes"}]}}`, false},
		{"metadata that is no object", `{"id":"9","part_type":"comment","body":"x","author":{"type":"user"},"metadata":[7]}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := partsOf(t, c.parts)
			if last := m[len(m)-1]; last.ID != "9" || last.Chosen != c.want {
				t.Errorf("got %+v", last)
			}
		})
	}
}

func TestNotesOfEveryKindAreNotes(t *testing.T) {
	for _, typ := range []string{"note", "note_and_reopen", "note_and_unsnooze"} {
		m, counts := partsOf(t, `{"id":"5","part_type":"`+typ+`","body":"psst","author":{"type":"admin"}}`)
		if m[0].Kind != record.MessageNote || len(counts) > 0 {
			t.Errorf("%s became %q, counts %v", typ, m[0].Kind, counts)
		}
	}
	m, counts := partsOf(t, `{"id":"5","part_type":"note_from_space","body":"psst","author":{"type":"admin"}}`)
	if m[0].Kind != "note_from_space" || counts["unmapped/part_type/note_from_space"] != 1 {
		t.Errorf("got %+v, %v", m[0], counts)
	}
}

func TestARedactedMessageSaysNothing(t *testing.T) {
	const secret = "hunter2"
	item, counts := read(t, record.KindConversation, `{"id":"1","title":"`+secret+`","source":{"type":"email","id":"s","subject":"`+secret+`","body":"<p>`+secret+`</p>","redacted":true,"author":{"type":"user","id":"u"},"attachments":[{"name":"`+secret+`"}]},
		"conversation_parts":{"conversation_parts":[{"id":"5","part_type":"comment","body":"<p>`+secret+`</p>","redacted":true,"author":{"type":"user"},"attachments":[{"name":"`+secret+`"}]}]}}`)
	if got := fmt.Sprintf("%+v", *item.Conversation); strings.Contains(got, secret) {
		t.Errorf("the secret is in %s", got)
	}
	if counts["redacted/conversation"] != 2 {
		t.Errorf("counts %v", counts)
	}
}

func TestPartsAreOrderedAndCountedOnce(t *testing.T) {
	comment := func(id, at string) string {
		return `{"id":` + id + `,"part_type":"comment","body":"x","created_at":` + at + `,"author":{"type":"user"}}`
	}
	m, counts := partsOf(t, strings.Join([]string{comment(`"100"`, "2000"), comment(`20`, "2000"), comment(`"3"`, "3000"), comment(`"4"`, "1000"), comment(`"3"`, "3000"), comment("null", "null"), "null"}, ","))
	var got []string
	for _, m := range m {
		got = append(got, m.ID)
	}
	if diff := cmp.Diff([]string{"4", "", "20", "100", "3"}, got); diff != "" {
		t.Error(diff)
	}
	want := pipeline.Counts{"unmapped/conversation/part=(doubled)": 1, "unmapped/conversation/part=(without id)": 1, "unmapped/conversation/part=(null)": 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Error(diff)
	}
}

func TestExpectedParts(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `%s{"id":"%d","part_type":"comment"}`, strings.Repeat(",", min(i, 1)), i+1)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, in  string
		held      int
		expected  int
		truncated bool
	}{
		{"the statistics count", `"statistics":{"count_conversation_parts":700},"conversation_parts":{"total_count":500,"conversation_parts":[` + many(500) + `]}`, 500, 700, false},
		{"the statistics count exactly what is there", `"statistics":{"count_conversation_parts":500},"conversation_parts":{"total_count":500,"conversation_parts":[` + many(500) + `]}`, 500, 500, false},
		{"without them 500 parts may be cut", `"statistics":null,"conversation_parts":{"total_count":500,"conversation_parts":[` + many(500) + `]}`, 500, 500, true},
		{"the list's own count", `"conversation_parts":{"total_count":4,"conversation_parts":[` + many(3) + `]}`, 3, 4, false},
		{"a count of doubled parts", `"conversation_parts":{"total_count":4,"conversation_parts":[` + many(3) + `,{"id":"3"}]}`, 3, 3, false},
		{"no count at all", `"conversation_parts":[` + many(3) + `]`, 3, 3, false},
		{"no parts at all", `"conversation_parts":null`, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			item, _ := read(t, record.KindConversation, `{"id":"1",`+c.in+`}`)
			got := item.Conversation
			if got.HeldParts != c.held || got.ExpectedParts != c.expected || got.Truncated != c.truncated {
				t.Errorf("got %d of %d, truncated %t; want %d of %d, %t", got.HeldParts, got.ExpectedParts, got.Truncated, c.held, c.expected, c.truncated)
			}
		})
	}
}

func TestOddTickets(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     record.Ticket
	}{
		{"the state was a text before API 2.12", `{"id":"1","ticket_state":"in_progress","ticket_state_internal_label":"Doing"}`, record.Ticket{ID: "1", StateCategory: "in_progress", StateLabel: "Doing"}},
		{"a state that is only an id is known from the reference data", `{"id":"1","ticket_state":{"id":8537}}`, record.Ticket{ID: "1", StateID: "8537", StateCategory: "submitted", StateLabel: "New"}},
		{"so is a type", `{"id":"1","ticket_type":"95"}`, record.Ticket{ID: "1", TypeID: "95", TypeName: "Incident"}},
		{"everything null", `{"id":"1","ticket_id":null,"ticket_state":null,"ticket_type":null,"ticket_attributes":null,"ticket_parts":null,"contacts":null,"linked_objects":null}`, record.Ticket{ID: "1"}},
		{"assignees as texts and numbers, 0 is nobody", `{"id":"1","admin_assignee_id":"0","team_assignee_id":12}`, record.Ticket{ID: "1", TeamAssignee: "12"}},
		{"attributes that an empty PHP map would be", `{"id":"1","ticket_attributes":[]}`, record.Ticket{ID: "1"}},
		{"a title with a less-than", `{"id":"1","ticket_attributes":{"_default_title_":"how to use <div>?","_default_description_":"<p>a</p><p>b</p>"}}`, record.Ticket{ID: "1", Title: "how to use <div>?", Description: "a\n\nb"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			item, _ := read(t, record.KindTicket, c.in)
			if diff := cmp.Diff(&c.want, item.Ticket); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatMakesAWholeObjectBad(t *testing.T) {
	for _, c := range []struct {
		name          string
		kind          record.Kind
		in            string
		field, saying string
	}{
		{"no JSON", "contact", `{"id":"1"`, "", "not JSON"},
		{"an empty body", "contact", ``, "", "not JSON"},
		{"a page in HTML", "contact", `<html>`, "", "not JSON"},
		{"a list", "contact", `[{"id":"1"}]`, "", "want an object, got a list"},
		{"no id", "contact", `{"type":"contact"}`, "id", "no id"},
		{"an id of null", "company", `{"id":null}`, "id", "no id"},
		{"an empty id", "company", `{"id":" "}`, "id", "empty"},
		{"an id that is an object", "ticket", `{"id":{}}`, "id", "want a string or a number, got an object"},
		{"an id that is a fraction", "ticket", `{"id":1.5}`, "id", "whole"},
		{"an id that is negative", "ticket", `{"id":-1}`, "id", "whole"},
		{"an id of 300 bytes", "ticket", `{"id":"` + strings.Repeat("x", 300) + `"}`, "id", "300 bytes"},
		{"another stream's object", "company", `{"type":"contact","id":"1"}`, "type", `want "company", got "contact"`},
		{"a type that is no text", "company", `{"type":5,"id":"1"}`, "type", "want a string, got a number"},
		{"parts that are a text", "conversation", `{"id":"1","conversation_parts":"x"}`, "conversation_parts", "want a list, got a string"},
		{"parts that are a text, one level down", "conversation", `{"id":"1","conversation_parts":{"conversation_parts":"x"}}`, "conversation_parts.conversation_parts", "want a list, got a string"},
		{"a part that is a number", "conversation", `{"id":"1","conversation_parts":{"conversation_parts":[{"id":"1"},7]}}`, "conversation_parts.conversation_parts[1]", "want an object, got a number"},
		{"an author that is a number", "ticket", `{"id":"1","ticket_parts":{"ticket_parts":[{"id":"1","author":7}]}}`, "ticket_parts.ticket_parts[0].author", "want an object, got a number"},
		{"attachments that are a number", "conversation", `{"id":"1","conversation_parts":[{"id":"1","attachments":7}]}`, "conversation_parts[0].attachments", "want a list, got a number"},
		{"a source that is a text", "conversation", `{"id":"1","source":"email"}`, "source", "want an object, got a string"},
		{"custom attributes that are a list", "contact", `{"id":"1","custom_attributes":[1]}`, "custom_attributes", "want an object, got a list"},
		{"ticket attributes that are a text", "ticket", `{"id":"1","ticket_attributes":"x"}`, "ticket_attributes", "want an object, got a string"},
		{"companies that are a number", "contact", `{"id":"1","companies":7}`, "companies", "want a list, got a number"},
		{"a kind that is unknown", "visitor", `{"id":"1"}`, "", "unknown kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := objectOf(c.kind, []byte(c.in))
			o.ID = "o-1"
			result := process(t, o)
			if len(result.Rejects) != 1 {
				t.Fatal("it passed")
			}
			r := result.Rejects[0]
			if r.Stage != "extract" || r.Kind != string(c.kind) || r.ID != "o-1" || r.Field != c.field || string(r.Payload) != c.in {
				t.Errorf("got %+v", r)
			}
			for _, s := range []string{c.saying, string(c.kind) + " o-1", c.field} {
				if !strings.Contains(r.Reason, s) {
					t.Errorf("reason %q does not say %q", r.Reason, s)
				}
			}
		})
	}
}

func TestWhatWouldBeLostWithoutAWordIsARejectThatNamesTheField(t *testing.T) {
	type place struct{ kind, format, field, want string }
	var places []place
	add := func(kind, want, fields string) {
		for field := range strings.FieldsSeq(fields) {
			places = append(places, place{kind, `{"id":"1","` + field + `":%s}`, field, want})
		}
	}
	const texts, times = "want a string, got ", "want a time, got "
	add("contact", texts, "external_id user_id workspace_id role email name phone language_override")
	add("contact", times, "created_at updated_at signed_up_at last_seen_at last_request_at last_replied_at last_contacted_at")
	add("company", texts, "company_id name website industry")
	add("company", times, "created_at updated_at remote_created_at last_request_at")
	add("company", "want a number, got ", "size session_count user_count monthly_spend")
	add("conversation", texts, "title state priority")
	add("conversation", times, "created_at updated_at waiting_since snoozed_until")
	add("ticket", texts, "category priority ticket_state_internal_label")
	add("ticket", "want a string or a number, got ", "ticket_id company_id")
	add("ticket", "want true or false, got ", "open is_shared")
	add("ticket", times, "created_at updated_at snoozed_until")
	places = append(places,
		place{"company", `{"id":"1","plan":{"name":%s}}`, "plan", texts},
		place{"contact", `{"id":"1","avatar":{"image_url":%s}}`, "avatar", texts},
		place{"contact", `{"id":"1","location":{"city":%s}}`, "location.city", texts},
		place{"contact", `{"id":"1","tags":[{"id":"1","name":%s}]}`, "tags.name", texts},
		place{"conversation", `{"id":"1","source":{"body":%s}}`, "source.body", texts},
		place{"conversation", `{"id":"1","source":{"subject":%s}}`, "source.subject", texts},
		place{"conversation", `{"id":"1","source":{"author":{"name":%s}}}`, "source.author.name", texts},
		place{"conversation", `{"id":"1","conversation_parts":[{"id":"5","body":%s}]}`, "conversation_parts[0].body", texts},
		place{"conversation", `{"id":"1","conversation_parts":[{"id":"5","part_type":%s}]}`, "conversation_parts[0].part_type", texts},
		place{"conversation", `{"id":"1","conversation_parts":[{"id":"5"},{"id":"6","created_at":%s}]}`, "conversation_parts[1].created_at", times},
		place{"conversation", `{"id":"1","conversation_parts":[{"id":"5","author":{"id":%s}}]}`, "conversation_parts[0].author.id", "want a string or a number, got "},
		place{"conversation", `{"id":"1","conversation_parts":[{"id":"5","attachments":[{"url":%s}]}]}`, "conversation_parts[0].attachment.url", texts},
		place{"ticket", `{"id":"1","ticket_state":{"category":%s}}`, "ticket_state.category", texts},
		place{"ticket", `{"id":"1","ticket_attributes":{"_default_title_":%s}}`, "ticket_attributes._default_title_", texts},
	)
	check := func(p place, in, want string) {
		t.Helper()
		body := fmt.Sprintf(p.format, in)
		result := process(t, objectOf(record.Kind(p.kind), []byte(body)))
		if len(result.Rejects) != 1 {
			t.Errorf("%s passed", body)
			return
		}
		if r := result.Rejects[0]; r.Field != p.field || !strings.HasSuffix(r.Reason, ": "+p.field+": "+want) {
			t.Errorf("%s: field %q, %s", body, r.Field, r.Reason)
		}
	}
	for _, p := range places {
		check(p, `{"a":1}`, p.want+"an object")
		check(p, `["a"]`, p.want+"a list")
		check(p, `{}`, p.want+"an object")
		check(p, `[]`, p.want+"a list")
		if p.want == times {
			check(p, `true`, times+"a boolean")
			for _, s := range []string{"bad", "yesterday", "2024-02-30", "2024-05", "2024-05-01 10:00:00 EST", "10000-01-01T00:00:00Z", "-", "e"} {
				check(p, `"`+s+`"`, noTime)
			}
		}
		if item, _ := read(t, record.Kind(p.kind), fmt.Sprintf(p.format, "null")); item.Object == nil {
			t.Errorf("%s of null was lost", p.field)
		}
	}
}

func TestOneBadObjectDoesNotHurtItsNeighbours(t *testing.T) {
	good := objectOf(record.KindConversation, []byte(`{"id":"1","conversation_parts":[{"id":"5","part_type":"comment","body":"x"}]}`))
	bad := objectOf(record.KindConversation, []byte(`{"id":"2","conversation_parts":[{"id":"5","author":[1]}]}`))
	result := process(t, good, bad, good)
	if len(result.Items) != 2 || len(result.Rejects) != 1 {
		t.Fatalf("%d items, %d rejects", len(result.Items), len(result.Rejects))
	}
	if diff := cmp.Diff(result.Items[0].Conversation, result.Items[1].Conversation); diff != "" {
		t.Error(diff)
	}
}

func TestGoneObjectsPassAsTheyAre(t *testing.T) {
	o := record.Object{Kind: record.KindContact, ID: "7", Gone: record.GoneMerged, MergedInto: "8"}
	result := process(t, o)
	if len(result.Items) != 1 || result.Items[0].Contact != nil || result.Items[0].Object.MergedInto != "8" {
		t.Errorf("got %+v", result)
	}
}

func TestCountersStayFewWhateverTheData(t *testing.T) {
	var objects []record.Object
	for i := range 5_000 {
		objects = append(objects, objectOf(record.KindContact, fmt.Appendf(nil, `{"id":"%d","role":"r%d","f%d":1,"custom_attributes":{"%s%d":1}}`, i, i, i, strings.Repeat("é", 200), i)))
	}
	result := process(t, objects...)
	total := int64(0)
	for name, n := range result.Counts {
		total += n
		if len(name) > 120 {
			t.Errorf("a counter's name has %d bytes", len(name))
		}
	}
	if len(result.Counts) > 3*maxNames+3 {
		t.Errorf("%d counters", len(result.Counts))
	}
	if total != 15_000 {
		t.Errorf("they add up to %d, want 15000", total)
	}
}
