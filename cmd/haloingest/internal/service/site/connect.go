package site

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/onboard"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/cmd/haloingest/internal/service/access"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/sinks/diff/report/page"
)

// connectView is the form for the token.
type connectView struct {
	head
	Regions []choice
	Again   bool // something is, or was, connected
	Replace bool // it is connected, and gets another token
	Checked bool // a token that was checked waits for the fields
	Wrong   bool // the token was refused: the field says so
}

type choice struct {
	Value, Name, Note string
	Chosen            bool
}

var regionNotes = []choice{{Value: "us", Name: "United States", Note: "app.intercom.com"}, {Value: "eu", Name: "Europe", Note: "app.eu.intercom.com"}, {Value: "au", Name: "Australia", Note: "app.au.intercom.com"}}

func (s *Site) connectForm(w http.ResponseWriter, r *http.Request) error {
	h, err := s.readHead(r, "/connect")
	if err != nil {
		return err
	}
	v := connectView{head: h, Again: h.Known, Replace: h.Known && h.Conn.Connected}
	title := "Connect"
	if v.Replace {
		title = "Replace the token"
	}
	chosen := r.URL.Query().Get("region")
	if _, ok := regionNames[chosen]; !ok {
		chosen = h.Conn.Region
	}
	if is := r.URL.Query().Get("is"); regionNames[is] != "" {
		chosen = is
	}
	for _, c := range regionNotes {
		c.Chosen = c.Value == chosen
		v.Regions = append(v.Regions, c)
	}
	if n := notice(r.URL.Query()); n != nil && n.Tone == "bad" {
		v.Wrong = true
	}
	if _, err := s.o.Connections.Draft(r.Context(), h.Org, user(r)); err == nil {
		v.Checked = true
	} else if !errors.Is(err, connection.ErrNoDraft) {
		return err
	}
	return s.show(w, r, "connect", http.StatusOK, h.view(title, v))
}

// user is whose draft it is.
func user(r *http.Request) string { return access.Of(r.Context()).Name }

// checkToken is the first step: the token is checked, and kept sealed until the fields are chosen.
func (s *Site) checkToken(_ http.ResponseWriter, r *http.Request) error {
	org, err := orgOf(r)
	if err != nil {
		return err
	}
	here := orgURL(org.String()) + "/connect"
	region := r.PostForm.Get("region")
	if _, ok := regionNames[region]; !ok {
		return to(here, "region-bad")
	}
	token := secret.NewText(strings.TrimSpace(r.PostForm.Get("token")))
	if token.IsEmpty() {
		return to(here, "token-empty", "region", region)
	}
	if name, rest, ok := strings.Cut(token.Reveal(), " "); ok && strings.EqualFold(strings.TrimSuffix(name, ":"), "bearer") && strings.TrimSpace(rest) != "" {
		return to(here, "token-bearer", "region", region)
	}
	if err := s.audited(r, org, "check token", map[string]string{"region": region}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askWithin)
	defer cancel()
	if _, _, err := s.o.Onboard.Begin(ctx, org, user(r), region, token); err != nil {
		return refused(ctx, here, region, err)
	}
	return redirect(here + "/fields")
}

// refused leads back to the form, with all that was given but the token.
func refused(ctx context.Context, here, region string, err error) error {
	var no *onboard.Refusal
	switch {
	case errors.As(err, &no):
		switch no.Why {
		case onboard.BadToken:
			return to(here, "bad-token", "region", region)
		case onboard.TokenForm:
			return to(here, "token-form", "region", region)
		case onboard.WrongRegion:
			if _, ok := regionNames[no.Region]; ok {
				return to(here, "wrong-region", "region", region, "is", no.Region)
			}
			return to(here, "bad-token", "region", region)
		case onboard.MissingScope:
			var kinds []string
			for _, k := range no.Missing {
				kinds = append(kinds, string(k))
			}
			return to(here, "missing-scope", "region", region, "of", strings.Join(kinds, ","))
		case onboard.OtherWorkspace:
			return to(here, "other-workspace", "region", region)
		default:
			return to(here, "unreachable", "region", region)
		}
	case errors.Is(err, connection.ErrNoDraft):
		return to(here, "no-draft", "region", region)
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return to(here, "unreachable", "region", region)
	}
	var bad *connection.SettingError
	if errors.As(err, &bad) && bad.Setting == "token" {
		return to(here, "bad-token", "region", region)
	}
	return err
}

// fieldsView shows what each choice of the fields would give.
type fieldsView struct {
	head
	Connecting bool // else: the fields of a connected workspace are changed
	Workspace  string
	Region     string
	Sets       []fieldSet
	Again      bool // a workspace was connected before
	Changed    bool
}

// fieldSet are the choices of one setting.
type fieldSet struct {
	Name, Title, Hint, Of string
	Examples              []string
	Choices               []fieldChoice
	Missing               string
	Sampled               int
	Other                 string // present value that is not in the list
	OtherChosen           bool
	Rare                  int // attributes that are not offered by name
}

type fieldChoice struct {
	ID, Value, Shown string
	Values           []string
	Empty, Shared    int
	Note             string
	Chosen, Present  bool
}

// shownChoices and shownExamples bound the table.
const (
	shownChoices  = 60
	shownExamples = 3
)

func (s *Site) connectFields(w http.ResponseWriter, r *http.Request) error {
	h, err := s.readHead(r, "/connect")
	if err != nil {
		return err
	}
	here := h.URL + "/connect"
	ctx, cancel := context.WithTimeout(r.Context(), askWithin)
	defer cancel()
	draft, err := s.o.Connections.Draft(ctx, h.Org, user(r))
	if err != nil {
		return refused(ctx, here, "", err)
	}
	p, err := s.o.Onboard.Preview(ctx, onboard.PreviewRequest{Org: h.Org, User: user(r)})
	if err != nil {
		return refused(ctx, here, draft.Region, err)
	}
	v := fieldsView{head: h, Connecting: true, Region: regionNames[draft.Region], Again: h.Known, Sets: fieldSets(p, r), Workspace: workspaceName(p.Workspace)}
	return s.show(w, r, "fields", http.StatusOK, h.view("Choose the fields", v))
}

// fieldsForm changes the fields of a connected workspace.
func (s *Site) fieldsForm(w http.ResponseWriter, r *http.Request) error {
	h, err := s.readHead(r, "/settings")
	if err != nil {
		return err
	}
	if !h.Known || !h.Conn.Connected {
		return connection.ErrNotConnected
	}
	ctx, cancel := context.WithTimeout(r.Context(), askWithin)
	defer cancel()
	p, err := s.o.Onboard.Preview(ctx, onboard.PreviewRequest{Org: h.Org})
	var no *onboard.Refusal
	if err != nil && !errors.As(err, &no) {
		return err
	}
	v := fieldsView{head: h, Sets: fieldSets(p, r), Workspace: h.Name, Region: regionNames[h.Conn.Region]}
	if no != nil { // the fields can be chosen without examples
		p.Users.Present, p.Companies.Present = h.Conn.UserIDField, h.Conn.CompanyIDField
		p.Users.Missing = "There are no examples, as Intercom does not show its objects at the moment (" + no.Why.String() + ")."
		p.Companies.Missing = p.Users.Missing
		v.Sets = fieldSets(p, r)
	}
	return s.show(w, r, "fields", http.StatusOK, h.view("Change the fields", v))
}

// plainFields are those that every workspace has.
var plainFields = map[string][]string{"user_id_field": {"external_id", "id", "email"}, "company_id_field": {"company_id", "id", "name"}}

func fieldSets(p onboard.Preview, _ *http.Request) []fieldSet {
	return []fieldSet{
		fieldSetOf("user_id_field", "People", "Which field of a contact becomes external_id of Halo's end user. It should be the id that your own product knows people by.", "contact", p.Users),
		fieldSetOf("company_id_field", "Companies", "Which field of a company becomes external_id of Halo's company.", "company", p.Companies),
	}
}

func fieldSetOf(name, title, hint, of string, c onboard.Choices) fieldSet {
	set := fieldSet{Name: name, Title: title, Hint: hint, Of: of, Missing: page.Visible(c.Missing), Sampled: c.Sampled}
	if c.Default == "" {
		c.Default = plainFields[name][0]
	}
	chosen := c.Present
	if chosen == "" {
		chosen = c.Default
	}
	if len(c.List) == 0 {
		for _, f := range plainFields[name] {
			c.List = append(c.List, onboard.Choice{Field: f})
		}
	}
	for i, n := range c.Names {
		if i < shownExamples {
			set.Examples = append(set.Examples, page.Short(n, 40))
		}
	}
	found := false
	for i, x := range c.List {
		// What most objects lack identifies nobody; who wants it all the same can name it.
		if rare := c.Sampled > 4 && 2*x.Empty > c.Sampled && i >= len(plainFields[name]); x.Field != chosen && (rare || i >= shownChoices) {
			set.Rare++
			continue
		}
		f := fieldChoice{ID: name + "-" + page.Count(int64(i)), Value: x.Field, Shown: page.Short(x.Field, 60), Empty: x.Empty, Shared: x.Shared, Chosen: x.Field == chosen, Present: x.Field == c.Present}
		found = found || f.Chosen
		for k := range set.Examples {
			value := ""
			if k < len(x.Values) {
				value = page.Short(x.Values[k], 40)
			}
			f.Values = append(f.Values, value)
		}
		if c.Sampled > 0 {
			f.Note = choiceNote(x, c.Sampled)
		}
		set.Choices = append(set.Choices, f)
	}
	if !found {
		set.OtherChosen = true
		set.Other, _ = strings.CutPrefix(chosen, "custom_attributes.")
	}
	return set
}

func choiceNote(x onboard.Choice, sampled int) string {
	var words []string
	switch {
	case x.Empty == sampled:
		return "empty in all of them"
	case x.Empty > 0:
		words = append(words, "empty in "+page.Count(int64(x.Empty))+" of "+page.Count(int64(sampled)))
	}
	if x.Shared > 0 {
		words = append(words, page.Count(int64(x.Shared))+" are not the only one with it")
	}
	if len(words) == 0 && sampled == 1 {
		return "filled"
	}
	if len(words) == 0 {
		return "filled and different in all of them"
	}
	return strings.Join(words, ", ")
}

// otherField is the value of the choice whose name is typed.
const otherField = "other"

// chosenField reads the choice of a form; ok is false if it is none.
func chosenField(r *http.Request, name string) (field string, ok bool) {
	field = r.PostForm.Get(name)
	if field == otherField {
		typed := strings.TrimSpace(r.PostForm.Get(name + "_other"))
		typed, _ = strings.CutPrefix(typed, "custom_attributes.")
		if typed == "" || len(typed) > 300 {
			return "", false
		}
		field = "custom_attributes." + typed
	}
	return field, field != "" && len(field) < 400
}

// twiceWithin is for how long a second sending of the form is taken for the first one's double.
const twiceWithin = 3 * time.Minute

// connect is the second step: the connection is stored, and its one full read is queued with it.
func (s *Site) connect(_ http.ResponseWriter, r *http.Request) error {
	org, err := orgOf(r)
	if err != nil {
		return err
	}
	here := orgURL(org.String()) + "/connect"
	was, err := s.o.Connections.Get(r.Context(), org)
	known := err == nil
	if err != nil && !errors.Is(err, connection.ErrNotConnected) {
		return err
	}
	set := connection.Settings{ActivityRefresh: connection.DefaultActivityRefresh}
	if known {
		set.ActivityRefresh = was.ActivityRefresh
	}
	var ok1, ok2 bool
	set.UserIDField, ok1 = chosenField(r, "user_id_field")
	set.CompanyIDField, ok2 = chosenField(r, "company_id_field")
	check := set
	check.Region = "us" // that of the draft is used
	if !ok1 || !ok2 || check.Validate() != nil {
		return to(here+"/fields", "field-bad")
	}
	if err := s.audited(r, org, "connect", map[string]string{"user_id_field": set.UserIDField, "company_id_field": set.CompanyIDField}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askWithin)
	defer cancel()
	_, err = s.o.Onboard.Connect(ctx, onboard.Request{Org: org, Settings: set, User: user(r)}, func(ctx context.Context, tx pgx.Tx) error {
		// A workspace that was connected before is read from its beginning: what was deleted meanwhile is told by nothing else.
		return s.o.Queue.Backfill(ctx, tx, org, work.BackfillOptions{Restart: known && !was.SyncedTo.IsZero()})
	})
	if errors.Is(err, connection.ErrNoDraft) {
		// The form was sent twice, and the first one has done it.
		if now, err := s.now(r.Context()); err != nil {
			return err
		} else if c, err := s.o.Connections.Get(r.Context(), org); err == nil && c.Connected && now.Sub(c.ConnectedAt) < twiceWithin {
			return to(orgURL(org.String()), "connected")
		}
	}
	if err != nil {
		return refused(ctx, here, "", err)
	}
	if known {
		return to(orgURL(org.String()), "reconnected")
	}
	return to(orgURL(org.String()), "connected")
}

// cancelConnect forgets the token that was checked.
func (s *Site) cancelConnect(_ http.ResponseWriter, r *http.Request) error {
	org, err := orgOf(r)
	if err != nil {
		return err
	}
	if err := s.audited(r, org, "cancel connecting", nil); err != nil {
		return err
	}
	if err := s.o.Onboard.Drop(r.Context(), org, user(r)); err != nil {
		return err
	}
	return redirect(orgURL(org.String()) + "/connect")
}

// changeFields stores other fields, and queues the full read that gives them to every row.
func (s *Site) changeFields(_ http.ResponseWriter, r *http.Request) error {
	c, err := s.connected(r)
	if err != nil {
		return err
	}
	here := orgURL(c.Org.String())
	set := c.Settings()
	var ok1, ok2 bool
	set.UserIDField, ok1 = chosenField(r, "user_id_field")
	set.CompanyIDField, ok2 = chosenField(r, "company_id_field")
	if !ok1 || !ok2 || set.Validate() != nil {
		return to(here+"/fields", "field-bad")
	}
	if set == c.Settings() {
		return to(here+"/settings", "fields-same")
	}
	if err := s.audited(r, c.Org, "change fields", map[string]string{"user_id_field": set.UserIDField, "company_id_field": set.CompanyIDField}); err != nil {
		return err
	}
	if _, err := s.o.Connections.Configure(r.Context(), c.Org, set); err != nil {
		return err
	}
	// What is under way was begun with the fields before. Should this process die here, the connection says that a full read is due.
	if err := s.o.Queue.Stop(r.Context(), c.Org); err != nil {
		return err
	}
	if err := s.o.Queue.Backfill(r.Context(), nil, c.Org, work.BackfillOptions{Restart: true}); err != nil {
		return err
	}
	return to(here, "fields")
}
