package postgres

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

func (x *loading) native(id byte, external, email string) record.UUID {
	x.tb.Helper()
	u := record.UUID{0xee, id}
	x.exec(`INSERT INTO end_users (org_id, id, external_id, email, name, source, company_id, custom_fields, context, first_seen, last_seen, last_contacted_at, signed_up_at, created_at, updated_at)
		VALUES ($1, $2, nullif($3, ''), nullif($4, ''), 'Halo''s name', 'widget', $5, '{"own": 1, "both": "halo"}', '{"k": {"label": "Halo", "value": 1}}', $6, $6, $6, $6, $6, $6)`,
		orgA, u, external, email, record.UUID{0xcc}, at(-1000))
	return u
}

func TestARowThatHaloMadeIsUpdatedAndNotDoubled(t *testing.T) {
	for name, f := range map[string]func(*record.EndUserRow){
		"by external id":                       func(r *record.EndUserRow) { r.ExternalID = "u1" },
		"by e-mail, whatever case and blanks":  func(r *record.EndUserRow) { r.Email = " someBODY@x.ORG" },
		"by external id before e-mail":         func(r *record.EndUserRow) { r.ExternalID, r.Email = "u1", "else@x.org" },
		"by e-mail, with a new external id":    func(r *record.EndUserRow) { r.ExternalID, r.Email = "new", "somebody@x.org" },
		"by external id, with nothing present": func(r *record.EndUserRow) { r.ExternalID, r.Name, r.Role = "u1", "", "" },
	} {
		t.Run(name, func(t *testing.T) {
			x := newLoading(t)
			external := "u1"
			if name == "by e-mail, with a new external id" || name == "by e-mail, whatever case and blanks" {
				external = ""
			}
			id := x.native(1, external, "SomeBody@x.org")
			x.exec(`ALTER TABLE end_users ADD mrr numeric; UPDATE end_users SET mrr = 5`)
			change := contactChange(orgA, "c1", 7, func(r *record.EndUserRow) {
				r.CustomFields = json.RawMessage(`{"both":"intercom","theirs":2}`)
				r.Context = json.RawMessage(`{"c":{"label":"C","value":2}}`)
				r.FirstSeen, r.LastSeen, r.LastContactedAt = at(500), at(501), at(502)
				f(r)
			})
			wantCounts(t, "the match", x.commit(change), map[string]int64{"load/end_users/updated": 1})
			got := x.table(`SELECT id = $1, source, custom_fields, context, first_seen = $2 AND last_seen = $2 AND last_contacted_at = $2 AND created_at = $2, mrr, company_id = $3, source_id, source_updated_at = $4, deleted_at FROM end_users`,
				id, at(-1000), record.UUID{0xcc}, at(7))
			want := []string{`(t,intercom,"{""own"": 1, ""both"": ""intercom"", ""theirs"": 2}","{""c"": {""label"": ""C"", ""value"": 2}, ""k"": {""label"": ""Halo"", ""value"": 1}}",t,5,t,c1,t,)`}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("row (-want +got):\n%s", diff)
			}
			r := change.EndUser
			expect := func(given, halos string) string {
				if given == "" {
					return halos
				}
				return given
			}
			got = x.lines(`SELECT concat_ws('|', coalesce(external_id, '-'), name, email, coalesce(role, '-')) FROM end_users`)
			ext := external
			if ext == "" {
				ext = "-"
			}
			want = []string{expect(r.ExternalID, ext) + "|" + expect(r.Name, "Halo's name") + "|" + expect(r.Email, "SomeBody@x.org") + "|" + expect(r.Role, "-")}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			x.commit(goneChange(record.KindContact, "c1", 9))
			if got := x.table(`SELECT deleted_at FROM end_users`); got[0] != "()" {
				t.Errorf("Halo's own row is marked deleted with its contact: %v", got)
			}
		})
	}
}

func TestActivityStampsAreWrittenOnceAndKept(t *testing.T) {
	x := newLoading(t)
	for n := 1; n < 4; n++ {
		x.commit(contactChange(orgA, "c1", n, func(r *record.EndUserRow) {
			r.FirstSeen, r.LastSeen, r.LastContactedAt, r.SignedUpAt = at(10*n), at(10*n+1), at(10*n+2), at(n)
		}))
	}
	got := x.table(`SELECT first_seen = $1, last_seen = $2, last_contacted_at = $3, signed_up_at = $4, created_at = $5, name FROM end_users`, at(10), at(11), at(12), at(3), at(0))
	if diff := cmp.Diff([]string{`(t,t,t,t,t,"c1 v3")`}, got); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	x.commit(contactChange(orgA, "c2", 1, func(r *record.EndUserRow) { r.SourceCreatedAt = time.Time{} }))
	if got := x.table(`SELECT first_seen, last_seen, last_contacted_at FROM end_users WHERE source_id = 'c2'`); got[0] != "(,,)" {
		t.Errorf("a new row looks active: %v", got)
	}
}

func TestContactsThatShareARowShowTheWinnerWhoeverComesFirst(t *testing.T) {
	lead := func(n int) record.Change {
		return contactChange(orgA, "lead", n, func(r *record.EndUserRow) {
			r.Role, r.Email, r.Name, r.Avatar = "lead", "p@x.org", "Lead", "face.png"
			r.CustomFields = json.RawMessage(`{"a":"lead","b":"lead"}`)
		})
	}
	user := func(n int) record.Change {
		return contactChange(orgA, "user", n, func(r *record.EndUserRow) {
			r.ExternalID, r.Email, r.Name = "u1", "P@x.org", "User"
			r.CustomFields = json.RawMessage(`{"b":"user"}`)
		})
	}
	for name, order := range map[string][][]record.Change{
		"the user first, then the lead, which is newer": {{user(1)}, {lead(2)}},
		"the lead first":              {{lead(2)}, {user(1)}},
		"both in one batch":           {{lead(2), user(1)}},
		"both in the other order":     {{user(1), lead(2)}},
		"the lead twice and the user": {{lead(1), user(1), lead(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newLoading(t)
			for _, batch := range order {
				x.commit(batch...)
			}
			got := x.lines(`SELECT concat_ws('|', external_id, name, email, role, avatar, custom_fields, source_id) FROM end_users`)
			if diff := cmp.Diff([]string{`u1|User|P@x.org|user|face.png|{"a": "lead", "b": "user"}|user`}, got); diff != "" {
				t.Errorf("row (-want +got):\n%s", diff)
			}
			if got := x.lines(`SELECT source_id || ' ' || (row_id = (SELECT id FROM end_users)) FROM ingest.id_map`); len(got) != 2 || got[0] != "lead true" || got[1] != "user true" {
				t.Errorf("bindings: %v", got)
			}
			wantCounts(t, "a second run", x.commit(lead(2), user(1)), map[string]int64{"load/end_users/equal": 2})
			// The user goes; what remains shows when it is read again.
			x.commit(goneChange(record.KindContact, "user", 5))
			x.commit(lead(2))
			if got := x.lines(`SELECT concat_ws('|', name, source_id, deleted_at) FROM end_users`); got[0] != "Lead|lead" {
				t.Errorf("after the user was deleted: %v", got)
			}
		})
	}
}

func TestTheCompanyOfAnEndUserIsTheOneSeenLast(t *testing.T) {
	company := func(id string, n, asked int) record.Change {
		return companyChange(orgA, id, n, func(r *record.CompanyRow) {
			if asked > 0 {
				r.LastRequestAt = at(asked)
			}
		})
	}
	x := newLoading(t)
	company1 := func() string {
		got := x.lines(`SELECT coalesce(c.source_id, 'none') || ' ' || coalesce(v.source_id, 'none') || ' ' || coalesce(k.source_id, 'none') FROM end_users u
			LEFT JOIN companies c ON c.id = u.company_id JOIN transcripts t ON t.end_user_id = u.id LEFT JOIN companies v ON v.id = t.company_id
			JOIN knowledge n ON n.transcript_id = t.id LEFT JOIN companies k ON k.id = n.company_id`)
		return got[0]
	}
	contact := func(n int, companies ...string) record.Change {
		return contactChange(orgA, "c1", n, func(r *record.EndUserRow) { r.Companies = companies })
	}
	steps := []struct {
		what   string
		change record.Change
		want   string
	}{
		{"two companies that are not known", contact(1, "k1", "k2"), "none none none"},
		{"one of them comes", company("k2", 1, 0), "k2 k2 k2"},
		{"the other, which was never seen either, has the lower id", company("k1", 1, 0), "k1 k1 k1"},
		{"one is seen", company("k2", 2, 10), "k2 k2 k2"},
		{"the other is seen later", company("k1", 2, 20), "k1 k1 k1"},
		{"and the first again", company("k2", 3, 30), "k2 k2 k2"},
		{"the contact leaves it", contact(2, "k1"), "k1 k1 k1"},
		{"the contact leaves both", contact(3), "none none none"},
		{"the contact joins one that is not known", contact(4, "k3"), "none none none"},
		{"which then comes", company("k3", 1, 1), "k3 k3 k3"},
	}
	x.commit(steps[0].change)
	x.commit(conversationChange(orgA, "v1", "c1", 1, []string{"k"}, nil))
	for _, s := range steps {
		x.commit(s.change)
		if got := company1(); got != s.want {
			t.Errorf("%s: end user, transcript and knowledge have %s, want %s", s.what, got, s.want)
		}
	}
}

func TestCompaniesWithOneExternalIDShareARow(t *testing.T) {
	x := newLoading(t)
	named := func(id, name string, n int) record.Change {
		return companyChange(orgA, id, n, func(r *record.CompanyRow) { r.ExternalID, r.Name = name, name })
	}
	x.commit(named("k1", "Acme", 1), named("k2", "Acme", 1), named("k3", "Else", 1),
		contactChange(orgA, "c1", 1, func(r *record.EndUserRow) { r.Companies = []string{"k1"} }),
		contactChange(orgA, "c2", 1, func(r *record.EndUserRow) { r.Companies = []string{"k2"} }),
		conversationChange(orgA, "v1", "c2", 1, []string{"k"}, nil),
		conversationChange(orgA, "v2", "", 1, nil, func(r *record.TranscriptRow) { r.CompanyID = "k2" }))
	sql := `SELECT u.source_id || ' ' || c.external_id FROM end_users u JOIN companies c ON c.id = u.company_id
		UNION ALL SELECT t.source_id || ' ' || c.external_id FROM transcripts t JOIN companies c ON c.id = t.company_id
		UNION ALL SELECT external_id || coalesce(' gone ' || deleted_at, '') FROM companies`
	if diff := cmp.Diff([]string{"Acme", "Else", "c1 Acme", "c2 Acme", "v1 Acme", "v2 Acme"}, x.lines(sql)); diff != "" {
		t.Errorf("while they share a name (-want +got):\n%s", diff)
	}
	x.commit(named("k2", "Other", 2))
	if diff := cmp.Diff([]string{"Acme", "Else", "Other", "c1 Acme", "c2 Other", "v1 Other", "v2 Other"}, x.lines(sql)); diff != "" {
		t.Errorf("after one was renamed (-want +got):\n%s", diff)
	}
	x.commit(named("k2", "Else", 3))
	if diff := cmp.Diff([]string{"Acme", "Else", "c1 Acme", "c2 Else", "v1 Else", "v2 Else"}, x.lines(sql+` WHERE deleted_at IS NULL`)); diff != "" {
		t.Errorf("after it took the name of another (-want +got):\n%s", diff)
	}
	if got := x.lines(`SELECT t.source_id || ' ' || c.external_id FROM knowledge t JOIN companies c ON c.id = t.company_id`); len(got) != 1 || got[0] != "v1 Else" {
		t.Errorf("knowledge: %v", got)
	}
}

func TestExternalIDsCanBePassedOnWithinABatch(t *testing.T) {
	x := newLoading(t)
	c := func(id, external string, n int) record.Change {
		return contactChange(orgA, id, n, func(r *record.EndUserRow) { r.ExternalID = external })
	}
	x.commit(c("a", "x1", 1), c("b", "x2", 1))
	x.commit(c("a", "x3", 2), c("b", "x1", 2), c("c", "x2", 2))
	if got := x.lines(`SELECT source_id || ' ' || external_id FROM end_users WHERE deleted_at IS NULL`); cmp.Diff([]string{"a x3", "b x1", "c x2"}, got) != "" {
		t.Errorf("rows: %v", got)
	}
}

func TestNobodyElsesRowsAreReadOrWritten(t *testing.T) {
	x := newLoading(t)
	orgB := record.UUID{0xbb}
	y := loadingOn(t, x.db, acquire(t, x.db, orgB), "all")
	x.commit(family(orgA, 1)...)
	before := x.table(`SELECT * FROM end_users ORDER BY id`)
	wantCounts(t, "the same objects of another organisation", y.commit(family(orgB, 2)...), map[string]int64{
		"load/companies/inserted": 1, "load/end_users/inserted": 1, "load/transcripts/inserted": 1, "load/tickets/inserted": 1, "load/knowledge/inserted": 2})
	y.commit(goneChange(record.KindContact, "c1", 3), goneChange(record.KindConversation, "v1", 3), mergedChange("c1", "c9", 4))
	if got := x.table(`SELECT * FROM end_users WHERE org_id = $1 ORDER BY id`, orgA); cmp.Diff(before, got) != "" {
		t.Errorf("rows of the first organisation changed: %s", cmp.Diff(before, got))
	}
	if got := x.lines(`SELECT org_id || ' ' || (SELECT count(*) FROM knowledge k WHERE k.org_id = t.org_id) FROM transcripts t WHERE deleted_at IS NULL`); len(got) != 1 || got[0] != orgA.String()+" 2" {
		t.Errorf("live transcripts: %v", got)
	}
}
