package accesstest

import (
	"net/http"
	"strings"

	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/pipeline/record"
)

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// takes reports whether a route of this pattern is for a method.
func (x *walk) takes(pattern, method string) bool {
	for _, r := range x.Routes {
		if r.Pattern == pattern && (r.Method == method || r.Method == "" || r.Method == http.MethodGet && method == http.MethodHead) {
			return true
		}
	}
	return false
}

// route asks for one route in all ways.
func (x *walk) route(r access.Route) {
	x.t.Helper()
	orgs := []string{""}
	if strings.Contains(r.Pattern, "{orgId}") {
		orgs = []string{x.Own.String(), x.Other.String(), x.unknown.String(), record.UUID{}.String(), "not-an-organisation"}
	}
	for _, method := range methods {
		mine := r.Method == method || r.Method == "" || r.Method == http.MethodGet && method == http.MethodHead
		for _, org := range orgs {
			path := fill(r.Pattern, org)
			if !x.takes(r.Pattern, method) {
				for _, p := range []who{x.people[0], x.people[1]} { // nobody, and who may do everything
					if a := x.ask(x.real, p, method, path, nil); a.status != http.StatusMethodNotAllowed {
						x.t.Errorf("%s %s as %s: %d, but there is no such route", method, path, p.name, a.status)
					}
				}
				continue
			}
			if !mine {
				continue // another route of the same pattern, which is asked for by itself
			}
			for _, p := range x.people {
				x.one(r, p, method, path, org)
			}
			x.fromElsewhere(r, method, path)
		}
	}
	if r.Policy.Need == access.Member {
		x.sameAsNone(r)
	}
}

// want is what a policy says of somebody: the status that refuses them, or 0 where they are let in. It does not ask the gate.
func (x *walk) want(r access.Route, p who, method, path, org string) int {
	known := p.sign
	api := strings.HasPrefix(path, "/api/")
	if p.bearer != "" && !p.scrape && api && (method == http.MethodGet || method == http.MethodHead) {
		known = true
	}
	stranger := http.StatusSeeOther
	if api {
		stranger = http.StatusUnauthorized
	}
	switch r.Policy.Need {
	case access.Anyone, access.Signed:
		return 0
	case access.Scraper:
		if !p.scrape {
			return http.StatusUnauthorized
		}
	case access.Person:
		if !known {
			return stranger
		}
	case access.Overseer:
		switch {
		case !known:
			return stranger
		case !p.over:
			return http.StatusForbidden
		}
	case access.Member:
		id, err := record.ParseUUID(org)
		switch {
		case !known:
			return stranger
		case err != nil || id.IsZero() || p.role(id) == access.NoRole:
			return http.StatusNotFound
		case p.role(id) < r.Policy.Role:
			return http.StatusForbidden
		}
	default:
		x.t.Errorf("%s %s: the walk does not know need %d", r.Method, r.Pattern, r.Policy.Need)
	}
	return 0
}

// one asks as one of them.
func (x *walk) one(r access.Route, p who, method, path, org string) {
	x.t.Helper()
	want := x.want(r, p, method, path, org)
	a := x.ask(x.probed, p, method, path, nil)
	switch {
	case want == 0 && !a.wasLetIn:
		x.t.Errorf("%s %s as %s: refused with %d", method, path, p.name, a.status)
	case want == 0:
		x.wanted++
		person := r.Policy.Need != access.Anyone && r.Policy.Need != access.Signed && r.Policy.Need != access.Scraper
		if person && !strings.HasPrefix(a.byWhom, strings.TrimPrefix(p.name, "script of the ")) {
			x.t.Errorf("%s %s as %s: the handler takes them for %q", method, path, p.name, a.byWhom)
		}
	case a.wasLetIn:
		x.t.Errorf("%s %s as %s: LET IN, though %s", method, path, p.name, describe(r.Policy))
	case a.status != want:
		x.t.Errorf("%s %s as %s: %d, want %d", method, path, p.name, a.status, want)
	case want == http.StatusSeeOther && !strings.HasPrefix(a.header.Get("Location"), "/login"):
		x.t.Errorf("%s %s as %s: sent to %q", method, path, p.name, a.header.Get("Location"))
	}
	x.headers(r, p, method, path, a)
	// The real handler: those that change something are asked for only where the gate keeps them out.
	reads := method == http.MethodGet || method == http.MethodHead
	if want == 0 && (!reads || x.Canary == "" || r.Policy.Need == access.Signed) {
		return
	}
	a = x.ask(x.real, p, method, path, nil)
	if want != 0 && a.status != want {
		x.t.Errorf("%s %s as %s: %d of the service itself, want %d", method, path, p.name, a.status, want)
	}
	if x.Canary != "" && strings.Contains(a.body, x.Canary) && p.role(x.Other) == access.NoRole {
		x.t.Errorf("%s %s as %s: the answer holds what belongs to another organisation", method, path, p.name)
	}
}

func describe(p access.Policy) string {
	switch p.Need {
	case access.Member:
		return "it is for members with role " + p.Role.String()
	case access.Overseer:
		return "it is for who looks after the installation"
	case access.Scraper:
		return "it is for scrapers"
	}
	return "it is for people"
}

// headers that every answer has.
func (x *walk) headers(r access.Route, p who, method, path string, a answer) {
	x.t.Helper()
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
	} {
		if got := a.header.Get(name); got != want {
			x.t.Errorf("%s %s as %s: %s is %q", method, path, p.name, name, got)
		}
	}
	csp := a.header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, part) {
			x.t.Errorf("%s %s as %s: the policy of contents %q lacks %s", method, path, p.name, csp, part)
		}
	}
	if strings.Contains(csp, "unsafe") {
		x.t.Errorf("%s %s as %s: the policy of contents is %q", method, path, p.name, csp)
	}
	needy := r.Policy.Need != access.Anyone && r.Policy.Need != access.Signed
	if got := a.header.Get("Cache-Control"); needy && !strings.Contains(got, "no-store") {
		x.t.Errorf("%s %s as %s: caches may keep it: %q", method, path, p.name, got)
	}
	if got := a.header.Get("Strict-Transport-Security"); x.Gate.Secure() != (got != "") {
		x.t.Errorf("%s %s as %s: Strict-Transport-Security is %q", method, path, p.name, got)
	}
}

// fromElsewhere sends what another site would make a browser send of who may do everything.
func (x *walk) fromElsewhere(r access.Route, method, path string) {
	x.t.Helper()
	if method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions || r.Policy.Need == access.Scraper {
		return
	}
	for _, header := range []map[string]string{
		{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://elsewhere.example"}, {"Origin": "null"},
	} {
		a := x.ask(x.probed, x.people[1], method, path, header)
		if a.wasLetIn != (r.Policy.Need == access.Signed) {
			x.t.Errorf("%s %s from another site (%v): let in: %t", method, path, header, a.wasLetIn)
		}
	}
}

// sameAsNone compares what somebody gets of an organisation that is not theirs with what they get of none.
func (x *walk) sameAsNone(r access.Route) {
	x.t.Helper()
	for _, p := range x.people {
		if p.over || p.role(x.Other) != access.NoRole {
			continue
		}
		other := x.ask(x.real, p, r.Method, fill(r.Pattern, x.Other.String()), nil)
		none := x.ask(x.real, p, r.Method, fill(r.Pattern, x.unknown.String()), nil)
		if other.status != none.status || strings.ReplaceAll(other.body, x.Other.String(), x.unknown.String()) != none.body {
			x.t.Errorf("%s %s as %s: an organisation of others can be told from none: %d and %d", r.Method, r.Pattern, p.name, other.status, none.status)
		}
	}
}

// nothingElse asks for what there is not.
func (x *walk) nothingElse() {
	x.t.Helper()
	for _, p := range x.people {
		for _, path := range []string{"/there-is-no-such-page", "/api/there-is-no-such-page", "/assets/../login/x", "/%2e%2e/etc/passwd"} {
			if a := x.ask(x.real, p, http.MethodGet, path, nil); a.status != http.StatusNotFound && a.status/100 != 3 {
				x.t.Errorf("GET %s as %s: %d", path, p.name, a.status)
			}
		}
	}
}
