package access

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"haloingest/pipeline/record"
)

// person is a User for the pages.
type person struct {
	User
	Role  Role // in the page's organisation
	Fresh bool // has this role alone, and never had a password: an admin who added them may make another link
}

// RoleID is the id of the field for another role.
func (p person) RoleID() string { return "role-" + p.ID.String() }

// Field is the field for another role.
func (p person) Field() roleField { return roleField{p.RoleID(), p.Role.String()} }

// roleField is a choice of roles.
type roleField struct{ ID, Now string }

// All are the roles, and what each may do.
func (roleField) All() []struct{ Name, Means string } {
	return []struct{ Name, Means string }{
		{Viewer.String(), "sees everything but secrets"}, {Operator.String(), "starts and stops work as well"},
		{Admin.String(), "connects, configures, and says who may do what"}, {NoRole.String(), "may do nothing there"},
	}
}

// RoleList are the roles in a fixed order.
func (p person) RoleList() []struct {
	Org  record.UUID
	Role Role
} {
	var list []struct {
		Org  record.UUID
		Role Role
	}
	for _, org := range slices.SortedFunc(maps.Keys(p.Roles), func(a, b record.UUID) int { return bytes.Compare(a[:], b[:]) }) {
		list = append(list, struct {
			Org  record.UUID
			Role Role
		}{org, p.Roles[org]})
	}
	return list
}

// shownLink is a one-time link, on the one page that shows it.
type shownLink struct{ For, URL string }

type peopleView struct {
	People []person
	Orgs   []record.UUID
	Org    record.UUID // of the page; zero: of the installation
	Base   string      // of the organisation's pages
	Link   *shownLink
	Name   string // as typed, of somebody who could not be added
}

// Field is the field for the role of somebody new.
func (peopleView) Field() roleField { return roleField{"add-role", Viewer.String()} }

func (g *Gate) showPeople(w http.ResponseWriter, r *http.Request) { g.peoplePage(w, r, peopleView{}) }

func (g *Gate) peoplePage(w http.ResponseWriter, r *http.Request, v peopleView) {
	ctx := r.Context()
	list, err := g.users.List(ctx)
	if err == nil {
		v.Orgs, err = g.users.Organisations(ctx, Of(ctx))
	}
	if err != nil {
		g.failed(w, r, err)
		return
	}
	for _, x := range list {
		v.People = append(v.People, person{User: x})
	}
	g.render(w, r, g.pages.people, http.StatusOK, "People", v)
}

// personOf reads the person that a form is about.
func (g *Gate) personOf(ctx context.Context, r *http.Request) (User, error) {
	id, err := record.ParseUUID(r.PostForm.Get("user"))
	if err != nil {
		return User{}, ErrNoUser
	}
	return g.users.Get(ctx, id)
}

// changePeople does what an overseer asks for.
func (g *Gate) changePeople(w http.ResponseWriter, r *http.Request) {
	if !g.form(w, r) {
		return
	}
	ctx := r.Context()
	action := r.PostForm.Get("action")
	if action == "add" {
		g.addPerson(w, r)
		return
	}
	x, err := g.personOf(ctx, r)
	if err != nil {
		g.done(w, r, peoplePath, "", err)
		return
	}
	switch action {
	case "role":
		org, role, err := orgAndRole(r)
		if err == nil {
			err = g.users.SetRole(ctx, x.ID, org, role)
		}
		g.done(w, r, peoplePath, said(x, role), err)
	case "link":
		token, err := g.users.Link(ctx, x.ID)
		if err != nil {
			g.done(w, r, peoplePath, "", err)
			return
		}
		g.peoplePage(w, r, peopleView{Link: &shownLink{x.Name, g.linkURL(token)}})
	case "signout":
		g.done(w, r, peoplePath, x.Name+" is signed out everywhere.", g.users.EndSessions(ctx, x.ID))
	case "disable":
		g.done(w, r, peoplePath, x.Name+" may not sign in any more.", g.users.SetDisabled(ctx, x.ID, true))
	case "enable":
		g.done(w, r, peoplePath, x.Name+" may sign in again.", g.users.SetDisabled(ctx, x.ID, false))
	case "overseer":
		g.done(w, r, peoplePath, x.Name+" looks after this installation now.", g.users.SetOverseer(ctx, x.ID, true))
	case "member":
		g.done(w, r, peoplePath, x.Name+" does not look after this installation any more.", g.users.SetOverseer(ctx, x.ID, false))
	default:
		g.refuse(w, r, http.StatusBadRequest, "", "")
	}
}

func said(x User, role Role) string {
	if role == NoRole {
		return x.Name + " has no role there any more."
	}
	return fmt.Sprintf("%s is %s there now.", x.Name, role)
}

func roleOf(r *http.Request) (Role, error) {
	name := r.PostForm.Get("role")
	if name == NoRole.String() || name == "" {
		return NoRole, nil
	}
	role, err := ParseRole(name)
	if err != nil {
		return NoRole, inputf("There is no role %q.", name)
	}
	return role, nil
}

func orgAndRole(r *http.Request) (record.UUID, Role, error) {
	role, err := roleOf(r)
	if err != nil {
		return record.UUID{}, role, err
	}
	org, err := record.ParseUUID(strings.TrimSpace(r.PostForm.Get("org")))
	if err != nil || org.IsZero() {
		return org, role, inputf("Name the organisation by its id, a UUID.")
	}
	return org, role, nil
}

func (g *Gate) addPerson(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	overseer := r.PostForm.Get("overseer") == "yes"
	roles := map[record.UUID]Role{}
	if strings.TrimSpace(r.PostForm.Get("org")) != "" {
		org, role, err := orgAndRole(r)
		if err != nil {
			g.done(w, r, peoplePath, "", err)
			return
		}
		if role != NoRole {
			roles[org] = role
		}
	}
	x, token, err := g.users.Add(ctx, record.CleanText(r.PostForm.Get("name")), overseer, roles)
	if err != nil {
		g.done(w, r, peoplePath, "", err)
		return
	}
	g.peoplePage(w, r, peopleView{Link: &shownLink{x.Name, g.linkURL(token)}})
}

// orgOf is the organisation that the path names, and where its pages are.
func orgOf(r *http.Request) (org record.UUID, base string) {
	org, _ = record.ParseUUID(r.PathValue(orgValue))
	return org, strings.ReplaceAll(orgPath, "{"+orgValue+"}", org.String())
}

func (g *Gate) showMembers(w http.ResponseWriter, r *http.Request) {
	g.membersPage(w, r, peopleView{})
}

func (g *Gate) membersPage(w http.ResponseWriter, r *http.Request, v peopleView) {
	v.Org, v.Base = orgOf(r)
	list, err := g.users.Members(r.Context(), v.Org)
	if err != nil {
		g.failed(w, r, err)
		return
	}
	for _, x := range list {
		v.People = append(v.People, person{User: x, Role: x.Roles[v.Org], Fresh: fresh(x, v.Org)})
	}
	g.render(w, r, g.pages.members, http.StatusOK, "People of this organisation", v)
}

// fresh reports whether an admin of org may make a link for a person: they have nothing but what admins of org gave them.
func fresh(x User, org record.UUID) bool {
	return !x.HasPassword && !x.Disabled && !x.Overseer && x.SignedInAt.IsZero() && len(x.Roles) == 1 && x.Roles[org] != NoRole
}

// changeMembers does what an admin of an organisation asks for: roles in that one alone.
func (g *Gate) changeMembers(w http.ResponseWriter, r *http.Request) {
	if !g.form(w, r) {
		return
	}
	ctx := r.Context()
	org, base := orgOf(r)
	back := base + peoplePath
	role, err := roleOf(r)
	if err != nil {
		g.done(w, r, back, "", err)
		return
	}
	if r.PostForm.Get("action") == "add" {
		g.addMember(w, r, role)
		return
	}
	x, err := g.personOf(ctx, r)
	if err == nil && x.Roles[org] == NoRole {
		err = ErrNoUser // who is not of this organisation is nobody to its admins
	}
	if err != nil {
		g.done(w, r, back, "", err)
		return
	}
	switch r.PostForm.Get("action") {
	case "role":
		g.done(w, r, back, said(x, role), g.users.SetRole(ctx, x.ID, org, role))
	case "link":
		if !fresh(x, org) {
			g.done(w, r, back, "", inputf("Only who looks after this installation can make a link for %s.", x.Name))
			return
		}
		token, err := g.users.Link(ctx, x.ID)
		if err != nil {
			g.done(w, r, back, "", err)
			return
		}
		g.membersPage(w, r, peopleView{Link: &shownLink{x.Name, g.linkURL(token)}})
	default:
		g.refuse(w, r, http.StatusBadRequest, "", "")
	}
}

func (g *Gate) addMember(w http.ResponseWriter, r *http.Request, role Role) {
	ctx := r.Context()
	org, base := orgOf(r)
	back := base + peoplePath
	name := record.CleanText(r.PostForm.Get("name"))
	if role == NoRole {
		g.done(w, r, back, "", inputf("Say which role %s gets.", cmp.Or(name, "the person")))
		return
	}
	list, err := g.users.list(ctx, g.users.pool, `WHERE u.name_key = $1`, nameKey(name))
	if err != nil {
		g.failed(w, r, err)
		return
	}
	if len(list) == 1 {
		g.done(w, r, back, said(list[0], role), g.users.SetRole(ctx, list[0].ID, org, role))
		return
	}
	x, token, err := g.users.Add(ctx, name, false, map[record.UUID]Role{org: role})
	if err != nil {
		g.done(w, r, back, "", err)
		return
	}
	g.membersPage(w, r, peopleView{Link: &shownLink{x.Name, g.linkURL(token)}})
}

const auditPage = 100 // entries

type auditView struct {
	Org     string // "": of the installation
	Base    string
	Entries []auditEntry
	Older   string // the address of the next page; "": there is none
}

type auditEntry struct{ Entry }

// Details are what is known besides, in a fixed order.
func (e auditEntry) Details() []string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
		list = append(list, k+": "+e.Detail[k])
	}
	return list
}

// showAudit shows the records of an organisation, or of everything to who looks after the installation.
func (g *Gate) showAudit(w http.ResponseWriter, r *http.Request) {
	var v auditView
	var org record.UUID
	path := auditPath
	if r.PathValue(orgValue) != "" {
		org, v.Base = orgOf(r)
		v.Org, path = org.String(), v.Base+auditPath
	}
	before, _ := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64) // of what is no number there is no older page
	list, err := audits(r.Context(), g.o.DB.Pool(), org, v.Org == "", max(before, 0), auditPage+1)
	if err != nil {
		g.failed(w, r, err)
		return
	}
	if len(list) > auditPage {
		list = list[:auditPage]
		v.Older = path + "?before=" + strconv.FormatInt(list[len(list)-1].ID, 10)
	}
	for _, e := range list {
		v.Entries = append(v.Entries, auditEntry{e})
	}
	g.render(w, r, g.pages.audit, http.StatusOK, "What was done", v)
}
