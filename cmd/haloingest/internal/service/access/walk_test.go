package access_test

import (
	"net/http"
	"strings"
	"testing"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/access/accesstest"
)

func TestEveryRouteIsForThoseWhomItNames(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{ScraperToken: secret.NewText("the-scraper's-token")})
	accesstest.Walk(t, accesstest.World{Gate: h.gate, Routes: append(h.gate.Routes(), whoami...), Scraper: "the-scraper's-token"})
}

func TestEveryRouteIsForThoseWhomItNamesByHTTPSToo(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{Secure: true})
	accesstest.Walk(t, accesstest.World{Gate: h.gate, Routes: []access.Route{whoami[0], whoami[4], whoami[5]}})
}

// The walk finds what it is for: routes that are open where they should not be.
func TestARouteThatSaysNoFittingPolicyIsNotServed(t *testing.T) {
	t.Parallel()
	h := open(t, access.Options{})
	member := access.Policy{Need: access.Member, Role: access.Viewer}
	for _, c := range []struct {
		want   string
		routes []access.Route
	}{
		{"does not say who may have it", []access.Route{{Method: "GET", Pattern: "/x", Handler: sayWho}}},
		{"is not known", []access.Route{{Method: "GET", Pattern: "/x", Handler: sayWho, Policy: access.Policy{Need: 99}}}},
		{"is not known", []access.Route{{Method: "GET", Pattern: "/x", Handler: sayWho, Policy: access.Policy{Need: -1}}}},
		{"no {orgId}", []access.Route{{Method: "GET", Pattern: "/x", Handler: sayWho, Policy: member}}},
		{"no {orgId}", []access.Route{{Method: "GET", Pattern: "/x/{org}", Handler: sayWho, Policy: member}}},
		{"with which role", []access.Route{{Method: "GET", Pattern: "/x/{orgId}", Handler: sayWho, Policy: access.Policy{Need: access.Member}}}},
		{"not for members", []access.Route{{Method: "GET", Pattern: "/x", Handler: sayWho, Policy: access.Policy{Need: access.Person, Role: access.Admin}}}},
		{"not only for its members", []access.Route{{Method: "GET", Pattern: "/x/{orgId}", Handler: sayWho, Policy: access.Policy{Need: access.Person}}}},
		{"not only for its members", []access.Route{{Method: "GET", Pattern: "/x/{orgId}", Handler: sayWho, Policy: access.Policy{Need: access.Anyone}}}},
		{"every method", []access.Route{{Pattern: "/x", Handler: sayWho, Policy: access.Policy{Need: access.Person}}}},
		{"method is not known", []access.Route{{Method: "get", Pattern: "/x", Handler: sayWho, Policy: access.Policy{Need: access.Person}}}},
		{"no handler", []access.Route{{Method: "GET", Pattern: "/x", Policy: access.Policy{Need: access.Person}}}},
		{"the path of one page", []access.Route{{Method: "GET", Pattern: "/", Handler: sayWho, Policy: access.Policy{Need: access.Person}}}},
		{"the path of one page", []access.Route{{Method: "GET", Pattern: "/x/", Handler: sayWho, Policy: access.Policy{Need: access.Person}}}},
		{"the path of one page", []access.Route{{Method: "GET", Pattern: "/x/{rest...}", Handler: sayWho, Policy: access.Policy{Need: access.Person}}}},
		{"the path of one page", []access.Route{{Method: "GET", Pattern: "example.com/x", Handler: sayWho, Policy: access.Policy{Need: access.Person}}}},
		{"conflicts", []access.Route{
			{Method: "GET", Pattern: "/x", Handler: sayWho, Policy: access.Policy{Need: access.Person}},
			{Method: "GET", Pattern: "/x", Handler: sayWho, Policy: access.Policy{Need: access.Anyone}}}},
		{"conflicts", []access.Route{
			{Method: "GET", Pattern: "/x/{orgId}", Handler: sayWho, Policy: member},
			{Method: "GET", Pattern: "/x/{id}", Handler: sayWho, Policy: access.Policy{Need: access.Anyone}}}},
	} {
		mux, err := h.gate.Mux(c.routes)
		if mux != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.routes, err, c.want)
		}
	}
	if _, err := h.gate.Mux([]access.Route{{Method: http.MethodGet, Pattern: "/{$}", Handler: sayWho, Policy: access.Policy{Need: access.Person}}}); err != nil {
		t.Errorf("the start page: %v", err)
	}
}
