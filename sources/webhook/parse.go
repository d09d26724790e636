package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"haloingest/pipeline/record"
)

// Notification is the envelope of a webhook, as far as it is used (fact sheet, section 4).
type Notification struct {
	ID      string // the notification's, or "hash:" and a digest where it has none
	Topic   string // "" if the body is no notification
	AppID   string // the workspace that it is about; "" if it does not say
	Objects []record.ObjectKey
	Gone    bool   // it tells of a deletion
	Problem string // why nothing can be read off it, although its topic is known or it has none
}

// scalar takes a string or a number, and anything else for nothing: ids have been seen as both.
type scalar string

func (s *scalar) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) > 0 && b[0] == '"':
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		*s = scalar(text)
	case len(b) > 0 && (b[0] == '-' || b[0] >= '0' && b[0] <= '9'):
		*s = scalar(b)
	}
	return nil
}

type envelope struct {
	ID        scalar          `json:"id"`
	Topic     scalar          `json:"topic"`
	AppID     scalar          `json:"app_id"`
	CreatedAt json.RawMessage `json:"created_at"`
	Data      json.RawMessage `json:"data"`
}

// Parse reads a verified body. It never fails: what is no notification has a Problem, and everything has an ID by which it is known again.
func Parse(body []byte) Notification {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return Notification{ID: digest(body), Problem: "the body is not a JSON object"}
	}
	n := Notification{ID: record.CleanText(string(e.ID)), Topic: record.CleanText(string(e.Topic)), AppID: string(e.AppID)}
	var data struct {
		Item json.RawMessage `json:"item"`
	}
	_ = json.Unmarshal(e.Data, &data) // no object has no item
	if n.ID == "" || len(n.ID) > maxText {
		// The same event, sent twice without an id, differs in when it was sent and how often it was tried.
		n.ID = digest([]byte(e.AppID), []byte(e.Topic), e.CreatedAt, data.Item)
	}
	if n.Topic == "" {
		n.Problem = "the notification names no topic"
		return n
	}
	t, ok := topics[n.Topic]
	if !ok {
		return n
	}
	n.Gone = t.gone
	for _, kind := range t.kinds {
		if id := find(kind, data.Item); validID(id) {
			n.Objects = append(n.Objects, record.ObjectKey{Kind: kind, ID: id})
		}
	}
	if len(n.Objects) == 0 {
		n.Problem = fmt.Sprintf("the item names no %s that can be read", t.kinds[0])
	}
	return n
}

// maxText bounds ids: PostgreSQL indexes no more than a third of a page.
const maxText = 256

// find looks for the id of an object of the kind: in the item itself, in a member that names it, or in a list of one.
func find(kind record.Kind, item json.RawMessage) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(item, &members) != nil {
		return ""
	}
	var typ, id scalar
	_, _ = json.Unmarshal(members["type"], &typ), json.Unmarshal(members["id"], &id)
	if kindOf(string(typ)) == kind && id != "" {
		return string(id)
	}
	for _, name := range wrapped[kind] {
		var inner struct {
			ID scalar `json:"id"`
		}
		if json.Unmarshal(members[name], &inner) == nil && inner.ID != "" {
			return string(inner.ID)
		}
		var flat scalar
		if json.Unmarshal(members[name+"_id"], &flat) == nil && flat != "" && !slices.Contains(looseIDs, name+"_id") {
			return string(flat)
		}
	}
	// Samples of deletions have identifying fields alone, without a type.
	if typ == "" {
		return string(id)
	}
	return ""
}

// looseIDs are members that look like Intercom's id and are the customer's own, or the number that people see (fact sheet, section 6).
var looseIDs = []string{"company_id", "user_id", "ticket_id"}

// validID reports whether an id may stand in a path; the API client asks for the same.
func validID(id string) bool {
	return id != "" && len(id) <= 128 && bytes.IndexFunc([]byte(id), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return "hash:" + hex.EncodeToString(h.Sum(nil))
}
