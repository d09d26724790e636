package intercom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"haloingest/pipeline/record"
)

// Reference reads the small lists that name what objects only number: admins, teams, tags, segments,
// ticket types and states, attributes. A list that the token may not read, or that the version does not have,
// stays empty and is told in warnings. It makes eight or nine requests.
func (c *Client) Reference(ctx context.Context) (ref record.Reference, warnings []string, err error) {
	a, err := c.me(ctx)
	switch class, ok := ClassOf(err); {
	case ok && class == ClassScope:
		warnings = append(warnings, "the workspace could not be read: "+err.Error())
	case err != nil:
		return ref, warnings, err
	}
	ref.Workspace = a.Workspace
	warnings = append(warnings, a.Warnings...)

	for _, list := range c.references(&ref) {
		r, err := c.do(ctx, call{op: "read " + list.name, method: http.MethodGet, path: list.path, query: list.query})
		var e *Error
		switch {
		case err == nil:
			if !eachEntry(r.body, list.key, list.take) {
				warnings = append(warnings, list.name+" could not be read: the answer holds no list")
			}
		case errors.As(err, &e) && (e.Class == ClassScope || e.Class == ClassGone || e.Class == ClassRequest || e.Class == ClassUnreadable):
			warnings = append(warnings, list.name+" could not be read: "+err.Error())
		default:
			return ref, warnings, err
		}
	}
	return ref, warnings, nil
}

type referenceList struct {
	name, path, key string
	query           url.Values
	take            func(raw json.RawMessage)
}

func (c *Client) references(ref *record.Reference) []referenceList {
	ref.Admins, ref.TicketStates = map[string]record.Admin{}, map[string]record.TicketState{}
	ref.Teams, ref.Tags, ref.Segments, ref.TicketTypes = map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	ref.Attributes = map[string]json.RawMessage{}
	lists := []referenceList{
		{name: "admins", path: "/admins", key: "admins", take: func(raw json.RawMessage) {
			var a struct{ ID, Name, Email text }
			if json.Unmarshal(raw, &a) == nil && a.ID != "" {
				ref.Admins[string(a.ID)] = record.Admin{Name: clean(a.Name), Email: clean(a.Email)}
			}
		}},
		{name: "teams", path: "/teams", key: "teams", take: named(ref.Teams)},
		{name: "tags", path: "/tags", key: "data", take: named(ref.Tags)},
		{name: "segments", path: "/segments", key: "segments", take: named(ref.Segments)},
		{name: "ticket types", path: "/ticket_types", key: "data", take: named(ref.TicketTypes)},
		{name: "ticket states", path: "/ticket_states", key: "data", take: func(raw json.RawMessage) {
			var s struct {
				ID       text `json:"id"`
				Category text `json:"category"`
				Internal text `json:"internal_label"`
				External text `json:"external_label"`
			}
			if json.Unmarshal(raw, &s) == nil && s.ID != "" {
				ref.TicketStates[string(s.ID)] = record.TicketState{
					Category: clean(s.Category), InternalLabel: clean(s.Internal), ExternalLabel: clean(s.External),
				}
			}
		}},
	}
	for _, model := range []string{"contact", "company"} {
		lists = append(lists, referenceList{
			name: model + " attributes", path: "/data_attributes", key: "data",
			query: url.Values{"model": {model}, "include_archived": {"true"}},
			take:  attributes(ref.Attributes, model),
		})
	}
	conversation := referenceList{name: "conversation attributes", key: "data", take: attributes(ref.Attributes, "conversation")}
	if c.atLeast("2.16") {
		conversation.path, conversation.query = "/conversations/attributes", url.Values{"include_archived": {"true"}}
	} else {
		conversation.path = "/data_attributes"
		conversation.query = url.Values{"model": {"conversation"}, "include_archived": {"true"}}
	}
	return append(lists, conversation)
}

// named takes entries of an id and a name.
func named(into map[string]string) func(json.RawMessage) {
	return func(raw json.RawMessage) {
		var n struct{ ID, Name text }
		if json.Unmarshal(raw, &n) == nil && n.ID != "" {
			into[string(n.ID)] = clean(n.Name)
		}
	}
}

// attributes takes attribute definitions by their full name; conversation attributes have a name only.
func attributes(into map[string]json.RawMessage, model string) func(json.RawMessage) {
	return func(raw json.RawMessage) {
		var a struct {
			FullName text `json:"full_name"`
			Name     text `json:"name"`
		}
		if json.Unmarshal(raw, &a) != nil {
			return
		}
		name := clean(a.FullName)
		if name == "" {
			name = clean(a.Name)
		}
		if canonical, err := record.CanonicalJSON(raw); err == nil && name != "" {
			into[fmt.Sprintf("%s.%s", model, name)] = canonical
		}
	}
}

func clean(t text) string { return record.CleanText(string(t)) }

// eachEntry calls take for the entries of the named list, or of "data", and reports whether there is one.
func eachEntry(body []byte, key string, take func(json.RawMessage)) bool {
	raw := member(body, key)
	if raw == nil {
		raw = member(body, "data")
	}
	return elements(raw, func(entry []byte) { take(entry) })
}
