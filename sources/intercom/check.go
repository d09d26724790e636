package intercom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"haloingest/pipeline/record"
)

// Access is what a token gives access to.
type Access struct {
	Workspace record.Workspace
	Admin     string // name of the teammate that the token belongs to
	// Missing lists the kinds that the token may not read, in the order of record.Kinds.
	Missing []record.Kind
	// Reasons holds Intercom's refusal for each kind of Missing.
	Reasons map[record.Kind]*Error
	// Warnings are sentences for a person.
	Warnings []string
}

// RegionError is a workspace that is kept in another region than the configured one.
type RegionError struct {
	Configured, Actual string
	Workspace          string
}

func (e *RegionError) Error() string {
	return fmt.Sprintf("the workspace %s is in region %s, the configured region is %s: connect with --region %s",
		e.Workspace, e.Actual, e.Configured, e.Actual)
}

// noCompany is an id of the right form that no company has.
const noCompany = "000000000000000000000000"

// Check asks who is behind the token and what it may read: one request for the workspace (GET /me)
// and one for each kind. A dead token is a *Error of ClassStop, a workspace of another region a
// *RegionError, a missing permission no error: see Access.Missing.
//
// Contacts, conversations and tickets are probed by a list of one row. For companies that does not do: a
// scroll would lock out other integrations for a minute, the list wants a write permission. But a
// company that does not exist is answered by 404 to whoever may read companies, and by 401 or 403 to
// others.
func (c *Client) Check(ctx context.Context) (Access, error) {
	a, err := c.me(ctx)
	if err != nil {
		return a, err
	}
	for _, kind := range record.Kinds {
		_, err := c.do(ctx, probe(kind))
		var e *Error
		switch {
		case err == nil, IsGone(err) && kind == record.KindCompany:
		case errors.As(err, &e) && e.Class == ClassScope:
			a.Missing = append(a.Missing, kind)
			if a.Reasons == nil {
				a.Reasons = make(map[record.Kind]*Error)
			}
			a.Reasons[kind] = e
		default:
			return a, err
		}
	}
	return a, nil
}

func probe(kind record.Kind) call {
	k := call{op: "check the permission to read " + kind.Stream(), method: http.MethodGet, path: "/" + kind.Stream()}
	switch kind {
	case record.KindCompany:
		k.path += "/" + noCompany
		k.endpoint = "GET /companies/{id}"
	case record.KindTicket: // there is no list
		k.method, k.path = http.MethodPost, "/tickets/search"
		k.body = searchBody{Query: filter{"created_at", ">", 1}, Pagination: searchPage{PerPage: 1}}
	default:
		k.query = url.Values{"per_page": {"1"}}
	}
	return k
}

// Workspace asks whose the token is, by one request. Intercom need not tell: then it is the zero Workspace but for the region.
func (c *Client) Workspace(ctx context.Context) (record.Workspace, error) {
	a, err := c.me(ctx)
	return a.Workspace, err
}

// me reads the workspace behind the token.
func (c *Client) me(ctx context.Context) (Access, error) {
	var a Access
	r, err := c.do(ctx, call{op: "read the token's workspace", method: http.MethodGet, path: "/me"})
	if err != nil {
		return a, err
	}
	var me struct {
		Name text            `json:"name"`
		App  json.RawMessage `json:"app"`
	}
	var app struct {
		ID       text `json:"id_code"`
		Name     text `json:"name"`
		Region   text `json:"region"`
		Timezone text `json:"timezone"`
	}
	if json.Unmarshal(r.body, &me) != nil {
		return a, &Error{Op: "read the token's workspace", Method: http.MethodGet, Path: "/me", Status: http.StatusOK,
			Class: ClassUnreadable, Attempts: 1, err: errors.New("the answer is no object")}
	}
	a.Admin = string(me.Name)
	if len(me.App) == 0 || json.Unmarshal(me.App, &app) != nil || app.ID == "" && app.Region == "" {
		a.Workspace.Region = c.region
		a.Warnings = append(a.Warnings, "Intercom does not say which workspace the token belongs to, so its region could not be checked")
		return a, nil
	}
	a.Workspace = record.Workspace{
		ID: string(app.ID), Name: string(app.Name), Region: strings.ToLower(string(app.Region)), Timezone: string(app.Timezone),
	}
	switch {
	case a.Workspace.Region == "":
		a.Workspace.Region = c.region
		a.Warnings = append(a.Warnings, "Intercom does not say which region the workspace is in, so it could not be checked")
	case a.Workspace.Region != c.region:
		return a, &RegionError{Configured: c.region, Actual: plain(a.Workspace.Region, 20), Workspace: plain(a.Workspace.ID, 80)}
	}
	return a, nil
}
