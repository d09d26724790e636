package intercomtest

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func scroll(t *testing.T, s *Server, param string) (reply, string) {
	t.Helper()
	path := "/companies/scroll"
	if param != "" {
		path += "?scroll_param=" + param
	}
	r := get(t, s, path)
	next, _ := r.json["scroll_param"].(string)
	return r, next
}

func TestTheScrollGivesEveryCompanyOnceAndThenEnds(t *testing.T) {
	s := Start(t, Options{Seed: 6, Conversations: 20, Companies: 250})
	if err := s.Delete(Companies, livingIDs(s.Workspace, Companies)[3]); err != nil {
		t.Fatal(err)
	}
	var ids []string
	param, sizes := "", []int{}
	for {
		r, next := scroll(t, s, param)
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if v, there := r.json["pages"]; !there || v != nil {
			t.Errorf("pages is %v", v)
		}
		sizes = append(sizes, len(r.rows()))
		if len(r.rows()) == 0 {
			break
		}
		ids, param = append(ids, r.ids()...), next
	}
	sameSet(t, "scroll", ids, livingIDs(s.Workspace, Companies))
	if !slices.Equal(sizes, []int{100, 100, 49, 0}) {
		t.Errorf("page sizes %v", sizes)
	}
	if r, _ := scroll(t, s, param); r.status != 404 {
		t.Errorf("after the end the parameter still works: %d", r.status)
	}
	if r, _ := scroll(t, s, ""); r.status != 200 {
		t.Errorf("after the end no new scroll can be opened: %d %s", r.status, r.body)
	}
}

func TestThereIsOneScrollAtATimeAndItExpires(t *testing.T) {
	clock := newClock()
	s := Start(t, Options{Conversations: 20, Companies: 350, Now: clock.now})
	_, param := scroll(t, s, "")
	if r, _ := scroll(t, s, ""); r.status != 400 || r.code() != "scroll_exists" {
		t.Errorf("a second scroll: %d %s", r.status, r.code())
	}
	clock.advance(59 * time.Second)
	if r, _ := scroll(t, s, param); r.status != 200 {
		t.Errorf("after 59 s: %d", r.status)
	}
	clock.advance(61 * time.Second)
	if r, _ := scroll(t, s, param); r.status != 404 || r.code() != "not_found" {
		t.Errorf("after 61 s: %d %s", r.status, r.code())
	}
	r, again := scroll(t, s, "")
	if r.status != 200 || again == param {
		t.Errorf("a new scroll: %d with parameter %q after %q", r.status, again, param)
	}
	if !slices.Equal(r.ids(), livingIDs(s.Workspace, Companies)[:100]) {
		t.Error("the new scroll does not begin at the top")
	}
}

func TestAScrollThatFailsIsLost(t *testing.T) {
	s := Start(t, Options{Conversations: 20, Companies: 250, Faults: []Fault{{Kind: FaultScrollFails, Path: "/companies/scroll", Nth: []int{2}}}})
	_, param := scroll(t, s, "")
	if r, _ := scroll(t, s, param); r.status != 500 || r.code() != "server_error" {
		t.Errorf("%d %s", r.status, r.code())
	}
	if r, _ := scroll(t, s, param); r.status != 404 {
		t.Errorf("the old parameter: %d", r.status)
	}
	if r, _ := scroll(t, s, ""); r.status != 200 {
		t.Errorf("a restart: %d", r.status)
	}
}

func TestAnotherToolMayHoldTheScroll(t *testing.T) {
	s := Start(t, Options{Conversations: 20, Faults: []Fault{{Kind: FaultScrollHeld, Path: "/companies/scroll", To: 3}}})
	for i := range 4 {
		want := 400
		if i == 3 {
			want = 200
		}
		if r, _ := scroll(t, s, ""); r.status != want {
			t.Errorf("call %d: %d, want %d", i, r.status, want)
		}
	}
}

func TestTheCompanyListOmitsCompaniesWithoutPeopleAndEndsAtTenThousand(t *testing.T) {
	s := Start(t, Options{Seed: 1, Conversations: 20, Contacts: 3000, Companies: 300, Scopes: ScopeRead | ScopeWriteCompanies})
	var ids []string
	for page := 1; ; page++ {
		r := ask(t, s, "POST", fmt.Sprintf("/companies/list?page=%d&per_page=60", page), "")
		ids = append(ids, r.ids()...)
		if r.json["pages"].(map[string]any)["next"] == nil {
			break
		}
	}
	want := []string{}
	for c := range s.Ledger().Companies() {
		if c.UserCount > 0 {
			want = append(want, c.ID)
		}
	}
	if len(want) == 300 {
		t.Fatal("every company has people")
	}
	sameSet(t, "list", ids, want)
	for page, status := range map[int]int{166: 200, 167: 400} {
		if r := ask(t, s, "POST", fmt.Sprintf("/companies/list?page=%d&per_page=60", page), ""); r.status != status {
			t.Errorf("page %d: %d, want %d", page, r.status, status)
		}
	}
	if r := ask(t, s, "POST", "/companies/list?page=167&per_page=60", ""); r.code() != "bad_request" {
		t.Errorf("beyond 10,000: %s", r.code())
	}
}

func TestUserCountsFollowTheContacts(t *testing.T) {
	s := Start(t, Options{Seed: 1, Conversations: 200, Companies: 4})
	company := livingIDs(s.Workspace, Companies)[0]
	members := func() int { return get(t, s, "/companies/"+company+"/contacts").total() }
	count := func() string { return fmt.Sprint(get(t, s, "/companies/"+company).json["user_count"]) }
	before := members()
	if before == 0 || count() != fmt.Sprint(before) {
		t.Fatalf("%d members, user_count %s", before, count())
	}
	if _, err := s.CreateContact(map[string]any{"name": "New", "companies": []string{company}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(Contacts, get(t, s, "/companies/"+company+"/contacts").ids()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateContact(map[string]any{"name": "Newer", "companies": []string{company}}); err != nil {
		t.Fatal(err)
	}
	if members() != before+1 || count() != fmt.Sprint(before+1) {
		t.Errorf("%d members, user_count %s, want %d", members(), count(), before+1)
	}
}

func TestCompaniesAreFoundByTheirFilters(t *testing.T) {
	s := Start(t, Options{Seed: 2, Conversations: 20, Companies: 120})
	for c := range s.Ledger().Companies() {
		if c.CompanyID == "" {
			continue
		}
		if r := get(t, s, "/companies?company_id="+c.CompanyID); fmt.Sprint(r.json["id"]) != c.ID {
			t.Fatalf("company_id %s gives %v, want %s", c.CompanyID, r.json["id"], c.ID)
		}
		break
	}
	tag := ""
	for _, o := range get(t, s, "/companies/scroll").rows() {
		if tags, _ := o["tags"].(map[string]any)["tags"].([]any); len(tags) > 0 {
			tag = tags[0].(map[string]any)["id"].(string)
		}
	}
	if r := get(t, s, "/companies?tag_id="+tag); r.status != 200 || r.total() == 0 {
		t.Errorf("tag %s: %d, %d rows", tag, r.status, r.total())
	}
	for path, want := range map[string]int{"/companies": 400, "/companies?name=Nobody": 404, "/companies?company_id=none": 404, "/companies/none": 404} {
		if r := get(t, s, path); r.status != want {
			t.Errorf("%s: %d, want %d", path, r.status, want)
		}
	}
}
