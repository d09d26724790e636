package mapids

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
)

func TestABadFieldIsRefusedByName(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		wants  []string
	}{
		{"an unknown field of contacts", Config{Org: org, UserIDField: "phone"}, []string{"user_id_field", `"phone"`, "external_id, id, email", "custom_attributes.NAME"}},
		{"a field of companies for contacts", Config{Org: org, UserIDField: "company_id"}, []string{"user_id_field"}},
		{"an unknown field of companies", Config{Org: org, CompanyIDField: "email"}, []string{"company_id_field", `"email"`, "company_id, id, name"}},
		{"a custom attribute without a name", Config{Org: org, CompanyIDField: "custom_attributes."}, []string{"company_id_field"}},
		{"another case", Config{Org: org, UserIDField: "Email"}, []string{"user_id_field"}},
		{"no organisation", Config{}, []string{"organisation"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(c.config)
			if err == nil {
				t.Fatal("it passed")
			}
			for _, w := range c.wants {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestExternalIDs(t *testing.T) {
	custom := map[string]json.RawMessage{
		"number": raw("1.5"), "text": raw(`"é\"x"`), "truth": raw("true"), "null": raw("null"), "list": raw("[1]"), "map": raw("{}"),
		"empty": raw(`""`), "blank": raw(`"  "`), "long": raw(`"` + strings.Repeat("x", 1001) + `"`), "fits": raw(`"` + strings.Repeat("x", 1000) + `"`),
		"with.dots": raw("7"),
	}
	contact := &record.Contact{ID: "c1", ExternalID: "u-70", Email: " Ann@Example.com ", Custom: custom}
	company := &record.Company{ID: "k1", CompanyID: "org-7", Name: "Acme", Custom: custom}
	for _, c := range []struct{ field, user, company string }{
		{"", "u-70", "org-7"},
		{"id", "c1", "k1"},
		{"custom_attributes.number", "1.5", "1.5"},
		{"custom_attributes.text", `é"x`, `é"x`},
		{"custom_attributes.truth", "true", "true"},
		{"custom_attributes.with.dots", "7", "7"},
		{"custom_attributes.absent", "", ""},
		{"custom_attributes.null", "", ""},
		{"custom_attributes.list", "", ""},
		{"custom_attributes.map", "", ""},
		{"custom_attributes.empty", "", ""},
		{"custom_attributes.blank", "", ""},
		{"custom_attributes.long", "", ""},
		{"custom_attributes.fits", strings.Repeat("x", 1000), strings.Repeat("x", 1000)},
	} {
		config := Config{UserIDField: c.field, CompanyIDField: c.field}
		if got := mapped(t, config, contact).EndUser.ExternalID; got != c.user {
			t.Errorf("%s: contact is %.20q, want %.20q", c.field, got, c.user)
		}
		if got := mapped(t, config, company).Company.ExternalID; got != c.company {
			t.Errorf("%s: company is %.20q, want %.20q", c.field, got, c.company)
		}
	}
	if got := mapped(t, Config{UserIDField: "external_id"}, contact).EndUser.ExternalID; got != "u-70" {
		t.Errorf("external_id: %q", got)
	}
	if got := mapped(t, Config{UserIDField: "email"}, contact).EndUser.ExternalID; got != "ann@example.com" {
		t.Errorf("email: %q", got)
	}
	if got := mapped(t, Config{CompanyIDField: "company_id"}, company).Company.ExternalID; got != "org-7" {
		t.Errorf("company_id: %q", got)
	}
	if got := mapped(t, Config{CompanyIDField: "name"}, company).Company.ExternalID; got != "Acme" {
		t.Errorf("name: %q", got)
	}
}

func TestAnObjectWithoutTheChosenFieldIsNotDropped(t *testing.T) {
	c := mapped(t, Config{UserIDField: "custom_attributes.crm"}, &record.Contact{ID: "c1", ExternalID: "u-70"})
	if c.EndUser == nil || c.EndUser.ExternalID != "" || c.EndUser.ID != record.RowID(org, record.KindContact, "c1") {
		t.Errorf("got %+v", c.EndUser)
	}
	entry, _ := object(t, c.EndUser.Context)["intercom_external_id"].(map[string]any)
	if entry["value"] != "u-70" {
		t.Errorf("the id that Intercom has is lost: %s", c.EndUser.Context)
	}
}

func TestEmailClaims(t *testing.T) {
	for _, c := range []struct{ email, stored, claim string }{
		{"ann@example.com", "ann@example.com", "ann@example.com"},
		{" Ann@Example.COM\t", "Ann@Example.COM", "ann@example.com"},
		{"", "", ""},
		{"   ", "", ""},
		{"n/a", "n/a", ""},
		{"@", "@", ""},
		{"ann@", "ann@", ""},
		{strings.Repeat("a", 1000) + "@example.com", "", ""},
	} {
		r := mapped(t, Config{}, &record.Contact{ID: "c1", Email: c.email}).EndUser
		if r.Email != c.stored || r.EmailKey != c.claim {
			t.Errorf("%.20q is stored as %.20q and claims %.20q", c.email, r.Email, r.EmailKey)
		}
	}
}

func TestIdentityDependsOnTheObjectAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id, external, email := rapid.String().Draw(t, "id"), rapid.String().Draw(t, "external"), rapid.String().Draw(t, "email")
		id, external, email = record.CleanText(id), record.CleanText(external), record.CleanText(email)
		a := mapped(t, Config{}, &record.Contact{ID: id, ExternalID: external, Email: email, Name: "A", UpdatedAt: day(1)})
		b := mapped(t, Config{}, &record.Contact{ID: id, ExternalID: external, Email: "  " + strings.ToUpper(strings.ToLower(email)) + " ", Name: "B", UpdatedAt: day(2)})
		if a.EndUser.ID != b.EndUser.ID || a.EndUser.ExternalID != b.EndUser.ExternalID {
			t.Fatalf("%v and %v", a.EndUser, b.EndUser)
		}
		if strings.ToUpper(strings.ToLower(email)) == strings.ToUpper(email) && isASCII(email) && a.EndUser.EmailKey != b.EndUser.EmailKey {
			t.Fatalf("%q claims %q, in capitals %q", email, a.EndUser.EmailKey, b.EndUser.EmailKey)
		}
		if strings.TrimSpace(external) != "" && len(external) <= claimBytes && a.EndUser.ExternalID != external {
			t.Fatalf("%q became %q", external, a.EndUser.ExternalID)
		}
		other := mapped(t, Config{}, &record.Contact{ID: id + "x", ExternalID: external, Email: email})
		if other.EndUser.ID == a.EndUser.ID {
			t.Fatalf("two contacts have one row id of their own")
		}
	})
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func TestCompaniesOfAContactAreSortedAndOnce(t *testing.T) {
	r := mapped(t, Config{}, &record.Contact{ID: "c", Companies: []record.Ref{{ID: "b"}, {ID: "a"}, {ID: "b"}}, CompanyTotal: 3}).EndUser
	if diff := cmp.Diff([]string{"a", "b"}, r.Companies); diff != "" {
		t.Error(diff)
	}
	entry, _ := object(t, r.Context)["intercom_companies"].(map[string]any)
	if diff := cmp.Diff([]any{"a", "b"}, entry["value"]); diff != "" {
		t.Error(diff)
	}
	one := mapped(t, Config{}, &record.Contact{ID: "c", Companies: []record.Ref{{ID: "b"}}, CompanyTotal: 1}).EndUser
	if _, there := object(t, one.Context)["intercom_companies"]; there {
		t.Error("a single company is listed in the context")
	}
	if one.Hash == r.Hash {
		t.Error("the hash does not see the companies")
	}
}
