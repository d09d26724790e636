package intercomtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// descriptionFile is Intercom's own description of API version 2.16. It is no part
// of this repository.
const descriptionFile = "../../../../shared/intercom-openapi.yaml"

// allowed is a difference between what the simulator sends and what the
// description says. Where is a pattern of member names joined by dots, with * for
// the items of a list; prefix "+" is for members that the description lacks.
type allowed struct{ where, why string }

var deliberate = []allowed{
	// The description contradicts its own examples, in which these are there.
	{"+**.topics", "in the examples of conversations"},
	{"+**.ticket", "in the examples of conversations; present when the conversation is a ticket"},
	{"+**.utm_campaign", "in the examples of contacts"},
	{"+**.utm_content", "in the examples of contacts"},
	{"+**.utm_medium", "in the examples of contacts"},
	{"+**.utm_source", "in the examples of contacts"},
	{"+**.utm_term", "in the examples of contacts"},
	{"+**.referrer", "in the examples of contacts"},
	{"+**.opted_in_subscription_types", "in the examples of contacts"},
	{"+**.opted_out_subscription_types", "in the examples of contacts"},
	{"+**.location.country_code", "in the examples of contacts"},
	{"+**.location.continent_code", "in the examples of contacts"},
	{"+**.social_profiles.type", "in the examples of contacts"},
	{"+**.tags.type", "in the examples of contacts"},
	{"+**.notes.type", "in the examples of contacts"},
	{"+**.companies.type", "in the examples of contacts"},
	{"+app.secure", "in the example of /me"},
	{"+**.is_internal", "in the examples of ticket types"},
	{"+**.ticket_type_attributes.data", "in the examples of ticket types, where the schema says ticket_type_attributes"},
	{"**.ai_agent", "null in the examples"},
	{"**.assigned_to", "null in the examples; the schema's nullable stands beside a $ref, where it has no effect"},
	{"**.email_message_metadata", "null in the examples; nullable beside a $ref"},
	{"**.event_details", "null in the examples; nullable beside a $ref"},
	{"**.conversation_parts.*.id", "a number in the examples of parts, and in the oddities"},
	{"**.author.email", "contacts without an address"},
	{"**.author.id", "contacts that were deleted"},
	{"**.email", "leads without an address"},
	{"**.email_domain", "leads without an address"},
	{"**.admin_assignee_id", "null and 0 both mean nobody"},
	{"**.team_assignee_id", "null and 0 both mean nobody"},
	{"**.source.body", "calls have no text"},
	// Custom attributes have values of all types, whatever the schema says.
	{"**.custom_attributes.seats", "numbers in custom attributes"},
	{"**.custom_attributes.renewal_at", "dates in custom attributes"},
	{"**.custom_attributes.mrr", "decimals in custom attributes"},
	{"**.custom_attributes.is_partner", "booleans in custom attributes"},
	{"**.custom_attributes.company_id", "an attribute named like a column"},
	{"**.custom_attributes.nothing", "an attribute without a value"},
	{"**.custom_attributes.Order value", "decimals in custom attributes"},
	{"**.custom_attributes.Has attachments", "booleans in custom attributes"},
	{"**.custom_attributes.big", "numbers in custom attributes, this one beyond 64 bits"},
	{"pages.next", "the link of a page-numbered list is a URL; the schema of POST /companies/list has a cursor"},
	{"**.monthly_spend", "decimals, as the data attribute's type is float"},
	{"**.company_id", "companies without an id of the customer's"},
	{"**.name", "companies and people without a name"},
	// The rest are oddities, which the schema forbids and the API does not.
	{"**.state", "oddity: an unknown state"},
	{"**.id", "oddity: ids as numbers"},
	{"**.owner_id", "oddity: owner as a number"},
	{"**.tags.tags", "oddity: null list"},
	{"**.notes", "oddity: null list"},
	{"**.companies", "oddity: null list"},
	{"**.attachments", "oddity: null list"},
	{"**.ticket_parts.ticket_parts", "oddity: null list"},
	{"**.location", "oddity: null object"},
	{"**.plan", "oddity: null object"},
	{"**.size", "oddity: null number"},
	{"**.session_count", "oddity: null number"},
	{"**.author", "oddity: no author"},
	{"**.ticket_state.category", "oddity: an unknown category"},
}

func loadDescription(t *testing.T) *openapi3.T {
	t.Helper()
	if _, err := os.Stat(descriptionFile); errors.Is(err, os.ErrNotExist) {
		t.Skipf("the API description %s is not present", descriptionFile)
	}
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.FromSlash(descriptionFile))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

var digits = regexp.MustCompile(`^[0-9]+$`)

// place makes list indexes anonymous.
func place(pointer []string) string {
	out := slices.Clone(pointer)
	for i, p := range out {
		if digits.MatchString(p) {
			out[i] = "*"
		}
	}
	return strings.Join(out, ".")
}

// flatten gives the single complaints in an error of the validator.
func flatten(err error) []*openapi3.SchemaError {
	var out []*openapi3.SchemaError
	var multi openapi3.MultiError
	var one *openapi3.SchemaError
	switch {
	case err == nil:
	case errors.As(err, &multi):
		for _, e := range multi {
			out = append(out, flatten(e)...)
		}
	case errors.As(err, &one):
		out = append(out, one)
	default:
		panic(fmt.Sprintf("unknown kind of error %T: %v", err, err))
	}
	return out
}

// members gives what a schema knows by name, and whether it allows anything else.
func members(s *openapi3.Schema) (names map[string]*openapi3.Schema, free bool) {
	names = map[string]*openapi3.Schema{}
	for n, p := range s.Properties {
		names[n] = p.Value
	}
	free = s.AdditionalProperties.Schema != nil || s.AdditionalProperties.Has != nil && *s.AdditionalProperties.Has
	for _, group := range []openapi3.SchemaRefs{s.AllOf, s.OneOf, s.AnyOf} {
		for _, sub := range group {
			n, f := members(sub.Value)
			free = free || f
			for k, v := range n {
				names[k] = v
			}
		}
	}
	return names, free
}

// unknown lists members of a value that its schema does not name.
func unknown(s *openapi3.Schema, v any, at []string) []string {
	var out []string
	switch v := v.(type) {
	case []any:
		if s.Items == nil {
			return nil
		}
		for _, x := range v {
			out = append(out, unknown(s.Items.Value, x, append(at, "0"))...)
		}
	case map[string]any:
		names, free := members(s)
		if free || len(names) == 0 {
			return nil
		}
		for k, x := range v {
			if sub := names[k]; sub != nil {
				out = append(out, unknown(sub, x, append(at, k))...)
			} else {
				out = append(out, "+"+place(append(slices.Clone(at), k)))
			}
		}
	}
	return out
}

func TestRepliesFollowTheAPIDescription(t *testing.T) {
	doc := loadDescription(t)
	for _, odd := range []int{-1, 300} {
		s := Start(t, Options{Seed: 11, Conversations: 240, Contacts: 300, Companies: 60, Tickets: 80, Oddities: odd, Scopes: ScopeRead | ScopeWriteCompanies})
		checkReplies(t, doc, s, odd > 0)
	}
}

func checkReplies(t *testing.T, doc *openapi3.T, s *Server, odd bool) {
	contacts, companies := livingIDs(s.Workspace, Contacts), livingIDs(s.Workspace, Companies)
	conversations, tickets := livingIDs(s.Workspace, Conversations), livingIDs(s.Workspace, Tickets)
	var merged string
	for d := range s.Ledger().Deleted() {
		if d.Into != "" {
			merged = d.ID
		}
	}
	search := `{"query":{"field":"created_at","operator":">","value":0},"pagination":{"per_page":150}}`
	type request struct{ method, path, pattern, body string }
	requests := []request{
		{"get", "/me", "/me", ""}, {"get", "/admins", "", ""}, {"get", "/teams", "", ""}, {"get", "/tags", "", ""}, {"get", "/segments?include_count=true", "/segments", ""},
		{"get", "/data_attributes", "", ""}, {"get", "/conversations/attributes", "", ""}, {"get", "/ticket_types", "", ""}, {"get", "/ticket_states", "", ""},
		{"get", "/subscription_types", "", ""}, {"get", "/contacts?per_page=150&include_merge_history=true", "/contacts", ""}, {"post", "/contacts/search", "", search},
		{"get", "/conversations?per_page=150", "/conversations", ""}, {"post", "/conversations/search", "", search}, {"post", "/tickets/search", "", search},
		{"get", "/conversations/deleted", "", ""}, {"get", "/companies/scroll", "", ""}, {"post", "/companies/list", "", ""},
		{"get", "/contacts/" + merged, "/contacts/{contact_id}", ""}, {"get", "/conversations/1", "/conversations/{conversation_id}", ""},
		{"get", "/data_attributes?model=conversation", "/data_attributes", ""}, {"get", "/companies/none", "/companies/{company_id}", ""},
	}
	for i, id := range conversations {
		if i%3 == 0 || odd {
			requests = append(requests, request{"get", "/conversations/" + id, "/conversations/{conversation_id}", ""})
		}
	}
	for _, id := range tickets {
		requests = append(requests, request{"get", "/tickets/" + id, "/tickets/{ticket_id}", ""})
	}
	for _, id := range companies {
		requests = append(requests, request{"get", "/companies/" + id, "/companies/{company_id}", ""})
		for _, part := range []string{"contacts", "segments", "notes"} {
			requests = append(requests, request{"get", "/companies/" + id + "/" + part, "/companies/{company_id}/" + part, ""})
		}
	}
	for i, id := range contacts {
		if i%20 != 0 {
			continue
		}
		for _, part := range []string{"", "/companies", "/tags", "/segments", "/notes", "/subscriptions"} {
			requests = append(requests, request{"get", "/contacts/" + id + part, "/contacts/{contact_id}" + part, ""})
		}
		requests = append(requests, request{"get", "/contacts/" + id + "/merge_history", "/contacts/{id}/merge_history", ""})
	}
	used := map[string]bool{}
	seen := map[string]string{}
	for _, q := range requests {
		pattern := q.pattern
		if pattern == "" {
			pattern = q.path
		}
		r := ask(t, s, strings.ToUpper(q.method), q.path, q.body)
		op := doc.Paths.Value(pattern).GetOperation(strings.ToUpper(q.method))
		res := op.Responses.Status(r.status)
		if res == nil {
			t.Errorf("%s %s: status %d is not described", q.method, pattern, r.status)
			continue
		}
		schema := res.Value.Content.Get("application/json").Schema.Value
		var v any
		if err := json.Unmarshal(r.body, &v); err != nil {
			t.Fatalf("%s %s: %v", q.method, q.path, err)
		}
		note := func(where, reason string) {
			name := fmt.Sprintf("%s %s: %s", q.method, pattern, where)
			for _, a := range deliberate {
				if wildcard(a.where, where) {
					used[a.where] = true
					return
				}
			}
			if odd && where[0] == '+' { // unknown members are what oddities are about
				return
			}
			seen[name] = reason
		}
		for _, e := range flatten(schema.VisitJSON(v, openapi3.MultiErrors(), openapi3.VisitAsResponse())) {
			note(place(e.JSONPointer()), e.Reason)
		}
		for _, where := range unknown(schema, v, nil) {
			note(where, "not described")
		}
	}
	for _, name := range sortedKeys(seen) {
		t.Errorf("%s: %s", name, seen[name])
	}
	for _, a := range deliberate {
		if odd && !used[a.where] {
			t.Errorf("difference %q is listed but does not occur", a.where)
		}
	}
}

// wildcard matches a pattern that may begin with "**." for any depth.
func wildcard(pattern, where string) bool {
	plus := strings.HasPrefix(pattern, "+")
	if plus != strings.HasPrefix(where, "+") {
		return false
	}
	pattern, where = strings.TrimPrefix(pattern, "+"), strings.TrimPrefix(where, "+")
	if rest, ok := strings.CutPrefix(pattern, "**."); ok {
		return where == rest || strings.HasSuffix(where, "."+rest)
	}
	return pattern == where
}
