package intercomtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func query(kind Kind, q string) (path, body string) {
	return "/" + string(kind) + "/search", `{"query":` + q + `,"pagination":{"per_page":150}}`
}

func TestSearchRefusesWhatTheAPIRefuses(t *testing.T) {
	s := Start(t, Options{Conversations: 60})
	leaf := `{"field":"created_at","operator":">","value":1}`
	group := func(n int, of string) string {
		return `{"operator":"AND","value":[` + strings.TrimSuffix(strings.Repeat(of+",", n), ",") + `]}`
	}
	for _, c := range []struct {
		name    string
		kind    Kind
		q       string
		version string
		status  int
		code    string
	}{
		{"15 filters in a group are fine", Conversations, group(15, leaf), "2.16", 200, ""},
		{"16 filters are too many", Conversations, group(16, leaf), "2.16", 400, "parameter_invalid"},
		{"groups may be nested twice", Conversations, group(2, group(2, leaf)), "2.16", 200, ""},
		{"three levels are too many", Conversations, group(1, group(1, group(1, leaf))), "2.16", 400, "parameter_invalid"},
		{"a group of nothing is refused", Conversations, `{"operator":"AND","value":[]}`, "2.16", 400, "parameter_invalid"},
		{"an unknown group is refused", Conversations, `{"operator":"XOR","value":[` + leaf + `]}`, "2.16", 400, "parameter_invalid"},
		{"an unknown field is refused", Conversations, `{"field":"mood","operator":"=","value":"x"}`, "2.16", 400, "field_not_found"},
		{"a word for a date is refused", Conversations, `{"field":"created_at","operator":">","value":"foobar"}`, "2.16", 400, "type_mismatch"},
		{"a number in quotes passes for a date", Conversations, `{"field":"created_at","operator":">","value":"1577869200"}`, "2.16", 200, ""},
		{">= is not for dates of conversations", Conversations, `{"field":"updated_at","operator":">=","value":1}`, "2.16", 400, "parameter_invalid"},
		{">= is for created_at of tickets", Tickets, `{"field":"created_at","operator":">=","value":1}`, "2.16", 200, ""},
		{">= is not for updated_at of tickets", Tickets, `{"field":"updated_at","operator":">=","value":1}`, "2.16", 400, "parameter_invalid"},
		{">= is not for dates of contacts", Contacts, `{"field":"updated_at","operator":">=","value":1}`, "2.16", 400, "parameter_invalid"},
		{"<= is not for dates of contacts", Contacts, `{"field":"updated_at","operator":"<=","value":1}`, "2.16", 400, "parameter_invalid"},
		{"!= is not for dates of contacts", Contacts, `{"field":"updated_at","operator":"!=","value":1}`, "2.16", 400, "parameter_invalid"},
		{"IN is not for dates of contacts", Contacts, `{"field":"updated_at","operator":"IN","value":[1]}`, "2.16", 400, "parameter_invalid"},
		{"from 2.17 on >= is", Contacts, `{"field":"updated_at","operator":">=","value":1}`, "2.17", 200, ""},
		{"IN wants a list", Contacts, `{"field":"role","operator":"IN","value":"user"}`, "2.16", 400, "parameter_invalid"},
		{"tags are only equal or not", Contacts, `{"field":"tag_id","operator":"IN","value":["1"]}`, "2.16", 400, "parameter_invalid"},
		{"words are not greater than others", Contacts, `{"field":"name","operator":">","value":"A"}`, "2.16", 400, "parameter_invalid"},
		{"a list is no query", Contacts, `[` + leaf + `]`, "2.16", 400, "parameter_invalid"},
		{"no query is no query", Contacts, `null`, "2.16", 400, "parameter_invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, body := query(c.kind, c.q)
			r := ask(t, s, "POST", path, body, "Intercom-Version: "+c.version)
			if r.status != c.status || r.code() != c.code {
				t.Errorf("got %d %q, want %d %q: %s", r.status, r.code(), c.status, c.code, r.body[:min(200, len(r.body))])
			}
		})
	}
	for order, want := range map[string]int{"ascending": 200, "descending": 200, "desc": 400, "sideways": 400} {
		body := `{"query":` + leaf + `,"sort":{"field":"updated_at","order":"` + order + `"}}`
		if r := ask(t, s, "POST", "/contacts/search", body); r.status != want {
			t.Errorf("contacts in order %q: %d, want %d", order, r.status, want)
		}
	}
	if r := ask(t, s, "POST", "/conversations/search", `{"query":`+leaf+`,"sort":{"field":"updated_at","order":"desc"}}`); r.status != 200 {
		t.Errorf("conversations in order desc: %d", r.status)
	}
}

// TestContactDatesAreWholeDaysOfTheWorkspace uses contacts of the test's own, one
// for each interesting second.
func TestContactDatesAreWholeDaysOfTheWorkspace(t *testing.T) {
	la, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		v, err := time.ParseInLocation(time.DateTime, s, la)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	clock := newClock()
	s := Start(t, Options{Conversations: -1, Contacts: -1, Companies: -1, Now: clock.now})
	// The clocks go forward in the night to 2026-03-08, which has 23 hours.
	times := []string{"2026-03-07 23:59:59", "2026-03-08 00:00:00", "2026-03-08 12:00:00", "2026-03-08 23:59:59", "2026-03-09 00:00:00"}
	name := map[string]string{}
	for _, x := range times {
		clock.t = at(x)
		id, err := s.CreateContact(map[string]any{"name": x})
		if err != nil {
			t.Fatal(err)
		}
		name[id] = x
	}
	for _, c := range []struct {
		op, value, version string
		want               []string
	}{
		{"=", "2026-03-08 09:00:00", "2.16", times[1:4]},
		{"=", "2026-03-08 23:59:59", "2.16", times[1:4]},
		{"=", "2026-03-09 00:00:00", "2.16", times[4:]},
		{">", "2026-03-08 00:00:00", "2.16", times[4:]}, // not from that second on
		{">", "2026-03-07 12:00:00", "2.16", times[1:]},
		{"<", "2026-03-08 23:00:00", "2.16", times[:1]},
		{"<", "2026-03-09 00:00:00", "2.16", times[:4]},
		{"=", "2026-03-08 12:00:00", "2.17", times[2:3]},
		{">", "2026-03-08 12:00:00", "2.17", times[3:]},
		{"<", "2026-03-08 12:00:00", "2.17", times[:2]},
		{">=", "2026-03-08 12:00:00", "2.17", times[2:]},
		{"<=", "2026-03-08 12:00:00", "2.17", times[:3]},
	} {
		for _, field := range []string{"created_at", "updated_at"} {
			path, body := query(Contacts, fmt.Sprintf(`{"field":"%s","operator":"%s","value":%d}`, field, c.op, at(c.value).Unix()))
			r := ask(t, s, "POST", path, body, "Intercom-Version: "+c.version)
			got := []string{}
			for _, id := range r.ids() {
				got = append(got, name[id])
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) || r.total() != len(c.want) {
				t.Errorf("%s: %s %s %s: got %v (total %d), want %v", c.version, field, c.op, c.value, got, r.total(), c.want)
			}
		}
	}
	// The query that is right in both worlds.
	T := at("2026-03-08 12:00:00").Unix()
	path, body := query(Contacts, fmt.Sprintf(`{"operator":"OR","value":[{"field":"updated_at","operator":">","value":%d},{"field":"updated_at","operator":"=","value":%d}]}`, T, T))
	if r := ask(t, s, "POST", path, body); len(r.ids()) != 4 || r.total() != 4 {
		t.Errorf("> or =: %d rows, total %d, want 4", len(r.ids()), r.total())
	}
}

func TestBoundsOfConversationsAreStrictUnlessAskedOtherwise(t *testing.T) {
	for _, inclusive := range []bool{false, true} {
		s := Start(t, Options{Seed: 2, Conversations: 50, InclusiveBounds: inclusive})
		for conv := range s.Ledger().Conversations() {
			path, body := query(Conversations, fmt.Sprintf(`{"field":"updated_at","operator":">","value":%d}`, conv.UpdatedAt))
			if got := slices.Contains(ask(t, s, "POST", path, body).ids(), conv.ID); got != inclusive {
				t.Fatalf("inclusive=%v: found=%v", inclusive, got)
			}
			break
		}
	}
}

// A random query is held against the objects themselves, read one by one and
// evaluated here.
func TestSearchAgreesWithReadingEverything(t *testing.T) {
	s := Start(t, Options{Seed: 9, Conversations: 130})
	s.TouchRandom(Conversations, 12)
	s.DeleteRandom(Conversations, 5)
	var all []map[string]any
	for _, id := range livingIDs(s.Workspace, Conversations) {
		all = append(all, get(t, s, "/conversations/"+id).json)
	}
	number := func(o map[string]any, k string) (int64, bool) {
		n, ok := o[k].(json.Number)
		i, _ := n.Int64()
		return i, ok
	}
	type expr struct {
		text string
		eval func(map[string]any) bool
	}
	start, span := int64(1704067200), int64(2*365*86400)
	leaf := rapid.Custom(func(t *rapid.T) expr {
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0, 1:
			field := rapid.SampledFrom([]string{"created_at", "updated_at"}).Draw(t, "field")
			op := rapid.SampledFrom([]string{">", "<", "="}).Draw(t, "op")
			v, _ := number(all[rapid.IntRange(0, len(all)-1).Draw(t, "object")], field)
			if rapid.Bool().Draw(t, "anywhere") {
				v = start + rapid.Int64Range(0, span).Draw(t, "value")
			}
			return expr{fmt.Sprintf(`{"field":"%s","operator":"%s","value":%d}`, field, op, v), func(o map[string]any) bool {
				n, _ := number(o, field)
				return op == ">" && n > v || op == "<" && n < v || op == "=" && n == v
			}}
		case 2:
			v := rapid.SampledFrom([]string{"open", "closed", "snoozed"}).Draw(t, "state")
			op := rapid.SampledFrom([]string{"=", "!="}).Draw(t, "op")
			return expr{fmt.Sprintf(`{"field":"state","operator":"%s","value":"%s"}`, op, v), func(o map[string]any) bool {
				state := fmt.Sprint(o["state"])
				if o["open"] == true { // an oddity hides the real state
					state = "open"
				}
				return (state == v) == (op == "=")
			}}
		case 3:
			v := rapid.Bool().Draw(t, "open")
			return expr{fmt.Sprintf(`{"field":"open","operator":"=","value":%v}`, v), func(o map[string]any) bool { return o["open"] == v }}
		default:
			v := rapid.SampledFrom([]string{"email", "conversation", "whatsapp"}).Draw(t, "source")
			return expr{fmt.Sprintf(`{"field":"source.type","operator":"IN","value":["%s","none"]}`, v), func(o map[string]any) bool {
				return o["source"].(map[string]any)["type"] == v
			}}
		}
	})
	group := func(of *rapid.Generator[expr]) *rapid.Generator[expr] {
		return rapid.Custom(func(t *rapid.T) expr {
			op := rapid.SampledFrom([]string{"AND", "OR"}).Draw(t, "group")
			subs := rapid.SliceOfN(of, 1, 4).Draw(t, "subs")
			texts := []string{}
			for _, s := range subs {
				texts = append(texts, s.text)
			}
			return expr{`{"operator":"` + op + `","value":[` + strings.Join(texts, ",") + `]}`, func(o map[string]any) bool {
				for _, s := range subs {
					if s.eval(o) != (op == "AND") {
						return op == "OR"
					}
				}
				return op == "AND"
			}}
		})
	}
	any := rapid.OneOf(leaf, group(leaf), group(rapid.OneOf(leaf, group(leaf))))
	odd := map[string]bool{}
	for c := range s.Ledger().Conversations() {
		odd[c.ID] = c.State == "pending_review" // searched by its real state, shown with another
	}
	rapid.Check(t, func(rt *rapid.T) {
		q := any.Draw(rt, "query")
		field := rapid.SampledFrom([]string{"created_at", "updated_at"}).Draw(rt, "sort")
		order := rapid.SampledFrom([]string{"ascending", "descending"}).Draw(rt, "order")
		want := []string{}
		for _, o := range all {
			if id := fmt.Sprint(o["id"]); !odd[id] && q.eval(o) {
				want = append(want, id)
			}
		}
		body := `{"query":` + q.text + `,"pagination":{"per_page":29%s},"sort":{"field":"` + field + `","order":"` + order + `"}}`
		got := slices.DeleteFunc(walkAll(t, s, "/conversations/search", body), func(id string) bool { return odd[id] })
		value := map[string]int64{}
		for _, o := range all {
			value[fmt.Sprint(o["id"])], _ = number(o, field)
		}
		if !slices.IsSortedFunc(got, func(a, b string) int {
			if order == "descending" {
				a, b = b, a
			}
			return int(value[a] - value[b])
		}) {
			rt.Errorf("%s: not sorted by %s %s", q.text, field, order)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			rt.Errorf("%s: got %d, want %d", q.text, len(got), len(want))
		}
	})
}

func TestTotalsAndPagesCount(t *testing.T) {
	s := Start(t, Options{Seed: 4, Conversations: 101})
	for conv := range s.Ledger().Conversations() {
		path, body := query(Conversations, fmt.Sprintf(`{"field":"created_at","operator":">","value":%d}`, conv.CreatedAt))
		body = strings.Replace(body, "150", "30", 1)
		r := ask(t, s, "POST", path, body)
		pages := r.json["pages"].(map[string]any)
		if r.total() != 100 || fmt.Sprint(pages["total_pages"]) != "4" || fmt.Sprint(pages["page"]) != "1" || fmt.Sprint(pages["per_page"]) != "30" {
			t.Errorf("total %d, pages %v", r.total(), pages)
		}
		break
	}
	if r := get(t, s, "/contacts"); len(r.rows()) != 10 || r.total() != 50 {
		t.Errorf("GET /contacts gives %d rows of %d", len(r.rows()), r.total())
	}
	for path, want := range map[string]int{"/contacts/search": 50, "/conversations/search": 20} {
		if n := len(ask(t, s, "POST", path, `{"query":{"field":"created_at","operator":">","value":0}}`).rows()); n != want {
			t.Errorf("%s gives %d rows by default, want %d", path, n, want)
		}
	}
	if n := len(get(t, s, "/conversations").rows()); n != 20 {
		t.Errorf("GET /conversations gives %d rows by default", n)
	}
}

func TestACursorThatIsNotOursIsRefused(t *testing.T) {
	s := Start(t, Options{Conversations: 100})
	good := get(t, s, "/conversations?per_page=5").next()
	if good == "" {
		t.Fatal("no cursor")
	}
	escape := strings.NewReplacer("+", "%2B", "=", "%3D").Replace
	for name, cursor := range map[string]string{"nonsense": "zzz", "one letter changed": "X" + good[1:], "the cursor of another kind": get(t, s, "/contacts?per_page=5").next()} {
		if r := get(t, s, "/conversations?starting_after="+escape(cursor)); r.status != 400 || r.code() != "client_error" {
			t.Errorf("%s: %d %s", name, r.status, r.code())
		}
	}
	if r := get(t, s, "/conversations?starting_after="+escape(good)); r.status != 200 {
		t.Errorf("a good cursor: %d", r.status)
	}
}

func TestARowThatChangesMovesInTheOrderOfPages(t *testing.T) {
	s := Start(t, Options{Seed: 8, Conversations: 60})
	body := `{"query":{"field":"created_at","operator":">","value":0},"pagination":{"per_page":20%s},"sort":{"field":"updated_at","order":"ascending"}}`
	first := ask(t, s, "POST", "/conversations/search", fmt.Sprintf(body, ""))
	moved := first.ids()[3]
	if err := s.Touch(Conversations, moved); err != nil {
		t.Fatal(err)
	}
	rest := []string{}
	for cursor := first.next(); cursor != ""; {
		r := ask(t, s, "POST", "/conversations/search", fmt.Sprintf(body, `,"starting_after":"`+cursor+`"`))
		rest = append(rest, r.ids()...)
		cursor = r.next()
	}
	if len(rest) != 41 || rest[40] != moved {
		t.Errorf("%d rows after the first page, the last being %s; want 41 and %s", len(rest), rest[len(rest)-1], moved)
	}
}

func TestContactsCanBeHiddenFromSearch(t *testing.T) {
	clock := newClock()
	s := Start(t, Options{Conversations: 40, SearchDelay: 5 * time.Minute, Now: clock.now})
	id, err := s.CreateContact(map[string]any{"email": "fresh@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	path, body := query(Contacts, `{"field":"email","operator":"=","value":"FRESH@example.com"}`)
	if n := len(ask(t, s, "POST", path, body).ids()); n != 0 {
		t.Error("a new contact is found at once")
	}
	if get(t, s, "/contacts/"+id).status != 200 {
		t.Error("a new contact cannot be read")
	}
	clock.advance(6 * time.Minute)
	if n := len(ask(t, s, "POST", path, body).ids()); n != 1 {
		t.Error("a new contact is never found")
	}
	blind := Start(t, Options{Seed: 1, Conversations: 400, MidnightBlind: 6 * time.Hour})
	path, body = query(Contacts, `{"field":"created_at","operator":">","value":0}`)
	if n := ask(t, blind, "POST", path, body).total(); n < 60 || n > 140 {
		t.Errorf("%d of 200 contacts are found outside of the hours around midnight", n)
	}
}
