package webhook_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
	"haloingest/sources/webhook"
)

func key(kind record.Kind, id string) record.ObjectKey { return record.ObjectKey{Kind: kind, ID: id} }

func TestObjectsAreFoundInEveryShapeOfAnItem(t *testing.T) {
	t.Parallel()
	const contact, company = "5ba682d23d7cf92bef87bfd4", "6762f09a1bb69f9f2193bb34"
	for _, tt := range []struct {
		topic, item string
		want        []record.ObjectKey
		gone        bool
	}{
		{"conversation.user.created", `{"type":"conversation","id":"123"}`, []record.ObjectKey{key(record.KindConversation, "123")}, false},
		{"conversation.user.replied", `{"type":"conversation","id":123}`, []record.ObjectKey{key(record.KindConversation, "123")}, false},
		{"conversation.admin.replied", `{"type":"conversation","id":"123","conversation_parts":{}}`, []record.ObjectKey{key(record.KindConversation, "123")}, false},
		{"contact.created", `{"type":"contact","id":"` + contact + `","role":"lead"}`, []record.ObjectKey{key(record.KindContact, contact)}, false},
		{"contact.updated", `{"type":"lead","id":"` + contact + `"}`, []record.ObjectKey{key(record.KindContact, contact)}, false},
		{"user.created", `{"type":"user","id":"` + contact + `","user_id":"7"}`, []record.ObjectKey{key(record.KindContact, contact)}, false},
		{"ticket.created", `{"type":"ticket","id":"55","ticket_id":"7"}`, []record.ObjectKey{key(record.KindTicket, "55")}, false},
		{"ticket.state.updated", `{"ticket":{"type":"ticket","id":"55"},"type":"ticket_event"}`, []record.ObjectKey{key(record.KindTicket, "55")}, false},
		{"contact.user.tag.created", `{"type":"contact_tag","tag":{"id":"1"},"contact":{"id":"` + contact + `"}}`, []record.ObjectKey{key(record.KindContact, contact)}, false},
		{"contact.merged", `{"type":"contact","id":"` + contact + `"}`, []record.ObjectKey{key(record.KindContact, contact)}, false},
		{"contact.deleted", `{"id":"` + contact + `","external_id":"7"}`, []record.ObjectKey{key(record.KindContact, contact)}, true},
		{"company.deleted", `{"type":"company","id":"` + company + `","company_id":"7"}`, []record.ObjectKey{key(record.KindCompany, company)}, true},
		{"conversation.deleted", `{"conversation_id":"123"}`, []record.ObjectKey{key(record.KindConversation, "123")}, true},
		{"conversation.deleted", `{"type":"conversation","conversation_id":123,"deleted":true}`, []record.ObjectKey{key(record.KindConversation, "123")}, true},
		{"conversation_part.redacted", `{"type":"conversation_part","id":"9","conversation_id":"123"}`, []record.ObjectKey{key(record.KindConversation, "123")}, false},
		{"conversation_part.redacted", `{"type":"conversation_part","id":"9","conversation":{"id":"123"}}`, []record.ObjectKey{key(record.KindConversation, "123")}, false},
		{
			"company.contact.attached", `{"type":"company_contact","company":{"id":"` + company + `","company_id":"7"},"contact":{"id":"` + contact + `"}}`,
			[]record.ObjectKey{key(record.KindCompany, company), key(record.KindContact, contact)}, false,
		},
	} {
		body := fmt.Sprintf(`{"type":"notification_event","id":"notif_1","topic":%q,"app_id":"acme01","created_at":1,"data":{"type":"notification_event_data","item":%s}}`, tt.topic, tt.item)
		want := webhook.Notification{ID: "notif_1", Topic: tt.topic, AppID: "acme01", Objects: tt.want, Gone: tt.gone}
		if diff := cmp.Diff(want, webhook.Parse([]byte(body))); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.topic, tt.item, diff)
		}
	}
}

func TestAnEventWithoutAnIDIsKnownAgain(t *testing.T) {
	t.Parallel()
	first := webhook.Parse([]byte(`{"topic":"contact.updated","app_id":"a","created_at":1,"delivery_attempts":1,"data":{"item":{"type":"contact","id":"1"}}}`))
	again := webhook.Parse([]byte(`{"topic":"contact.updated","app_id":"a","created_at":1,"delivery_attempts":2,"data":{"item":{"type":"contact","id":"1"}}}`))
	later := webhook.Parse([]byte(`{"topic":"contact.updated","app_id":"a","created_at":2,"delivery_attempts":1,"data":{"item":{"type":"contact","id":"1"}}}`))
	if first.ID == "" || first.ID != again.ID || first.ID == later.ID {
		t.Errorf("ids %q, %q and %q", first.ID, again.ID, later.ID)
	}
}

func TestWhatCannotBeReadHasAProblem(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty": "", "no JSON": "hello", "no object": "[1]", "gzip": "\x1f\x8b\x08\x00", "depth 10,000": strings.Repeat("[", 10001) + strings.Repeat("]", 10001),
		"deep object": strings.Repeat(`{"data":`, 20000) + "1" + strings.Repeat("}", 20000), "no topic": `{"id":"notif_1"}`,
		"no item": `{"id":"n","topic":"contact.updated"}`, "another item": `{"id":"n","topic":"contact.updated","data":{"item":{"type":"admin","id":"1"}}}`,
		"path for an id": `{"id":"n","topic":"contact.updated","data":{"item":{"type":"contact","id":"../companies/1"}}}`,
		"customer's id":  `{"id":"n","topic":"company.updated","data":{"item":{"type":"x","company_id":"1"}}}`,
	} {
		n := webhook.Parse([]byte(body))
		if n.Problem == "" || len(n.Objects) > 0 || n.ID == "" {
			t.Errorf("%s: %+v", name, n)
		}
	}
	if n := webhook.Parse([]byte(`{"id":"n","topic":"content_stat.sent","data":{}}`)); n.Problem != "" || webhook.Known(n.Topic) {
		t.Errorf("a topic that needs no work: %+v", n)
	}
}

func TestAllDocumentedTopicsAreKnown(t *testing.T) {
	t.Parallel()
	for _, topic := range strings.Fields(`conversation.user.created conversation.user.replied conversation.admin.replied contact.created contact.updated user.created
		ticket.created ticket.state.updated contact.user.created contact.lead.created contact.user.updated contact.lead.updated contact.merged contact.deleted
		conversation_part.redacted conversation.admin.closed conversation.deleted company.created company.updated company.deleted company.contact.attached
		company.contact.detached`) {
		if !webhook.Known(topic) {
			t.Errorf("%s is not known", topic)
		}
	}
	for _, topic := range []string{"ping", "", "event.created", "CONTACT.UPDATED"} {
		if webhook.Known(topic) {
			t.Errorf("%q is known", topic)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"id":"notif_1","topic":"contact.updated","data":{"item":{"type":"contact","id":"1"}}}`))
	f.Add([]byte(`{"id":1e400,"topic":"company.contact.attached","data":{"item":{"company":{"id":1}}}}`))
	f.Add([]byte("{\"id\":\"\\u0000\",\"topic\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		n := webhook.Parse(body)
		if n.ID == "" || len(n.ID) > 256+8 || !utf8.ValidString(n.ID) || !utf8.ValidString(n.Topic) || strings.Contains(n.ID+n.Topic, "\x00") {
			t.Errorf("id %q, topic %q", n.ID, n.Topic)
		}
		if !json.Valid(body) && n.Problem == "" {
			t.Error("no JSON, and no problem")
		}
		if (len(n.Objects) > 0) == (n.Problem != "") && webhook.Known(n.Topic) {
			t.Errorf("objects %v, problem %q", n.Objects, n.Problem)
		}
		if again := webhook.Parse(body); !cmp.Equal(n, again) {
			t.Error("parsed twice, it is two things")
		}
	})
}
