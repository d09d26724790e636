package onboard

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/stages/extract"
	"haloingest/stages/mapids"
)

// PreviewRequest says whose objects a preview is of.
type PreviewRequest struct {
	Org  record.UUID
	User string // whose draft's token is used; "": the connection's
}

// Preview shows what each choice of user_id_field and company_id_field would give.
type Preview struct {
	Workspace record.Workspace // whose the token is; its name may be anything
	Users     Choices          // user_id_field, over the newest contacts
	Companies Choices          // company_id_field, over companies that some of these contacts belong to
}

// Choices are the values of one setting that can be chosen.
type Choices struct {
	Present string   // the value that the connection has; "" before it is connected
	Default string   // what is taken where nobody chooses
	Sampled int      // objects that Empty and Shared of each Choice are counted over
	Names   []string // of the examples, as people know them; texts of the workspace's own, which may be anything
	List    []Choice // in the order in which to offer them
	Missing string   // why there are no examples, as a sentence; "" where there are
}

// Choice is what one value of a setting would give.
type Choice struct {
	Field  string   // as the setting has it: external_id, custom_attributes.plan_id
	Values []string // the external_id of each example, in the order of Choices.Names; "" where it is empty
	Empty  int      // of the sample: without an external_id
	Shared int      // of the sample: with an external_id that another one has too
}

const (
	sampledContacts  = 50 // of one page
	sampledCompanies = 10 // a request each
	examples         = 5
	maxAttributes    = 20 // custom attributes that are offered, the most common first
	maxExample       = 200
)

// Preview reads a sample of the workspace's own contacts and companies, by a dozen requests at most, and stores nothing. What it shows of them is
// what a backfill with that choice would make of them. Errors are *Refusal, or wrap connection.ErrNoDraft or connection.ErrNotConnected.
func (d *Desk) Preview(ctx context.Context, r PreviewRequest) (Preview, error) {
	p := Preview{Users: Choices{Default: connection.DefaultUserIDField}, Companies: Choices{Default: connection.DefaultCompanyIDField}}
	client, err := d.clientOf(ctx, r, &p)
	if err != nil {
		return Preview{}, err
	}
	defer client.Close()
	if p.Workspace, err = client.Workspace(ctx); err != nil {
		return Preview{}, refuse(ctx, err)
	}
	contacts, err := newestContacts(ctx, client)
	if err != nil {
		return Preview{}, refuse(ctx, err)
	}
	people, err := extracted(ctx, contacts)
	if err != nil {
		return Preview{}, err
	}
	companies, err := companiesOf(ctx, client, people)
	if err != nil {
		return Preview{}, refuse(ctx, err)
	}
	firms, err := extracted(ctx, companies)
	if err != nil {
		return Preview{}, err
	}
	if err := p.Users.fill(ctx, people, func(field string) mapids.Config { return mapids.Config{Org: r.Org, UserIDField: field} }, []string{"external_id", "id", "email"}); err != nil {
		return Preview{}, err
	}
	if err := p.Companies.fill(ctx, firms, func(field string) mapids.Config { return mapids.Config{Org: r.Org, CompanyIDField: field} }, []string{"company_id", "id", "name"}); err != nil {
		return Preview{}, err
	}
	if len(people) == 0 {
		p.Users.Missing = "The workspace has no contacts yet."
	}
	if len(firms) == 0 {
		p.Companies.Missing = fmt.Sprintf("None of the %d newest contacts belongs to a company.", len(people))
	}
	return p, nil
}

// clientOf opens the token that the preview is to use.
func (d *Desk) clientOf(ctx context.Context, r PreviewRequest, p *Preview) (*intercom.Client, error) {
	present, err := d.o.Connections.Get(ctx, r.Org)
	switch {
	case err == nil:
		p.Users.Present, p.Companies.Present = present.UserIDField, present.CompanyIDField
	case r.User == "" || !errors.Is(err, connection.ErrNotConnected):
		return nil, err
	}
	if r.User == "" {
		token, err := d.o.Connections.Token(ctx, r.Org)
		if err != nil {
			return nil, err
		}
		return d.o.Client(present.Region, token)
	}
	draft, err := d.o.Connections.Draft(ctx, r.Org, r.User)
	if err != nil {
		return nil, err
	}
	token, err := d.o.Connections.DraftToken(ctx, r.Org, r.User)
	if err != nil {
		return nil, err
	}
	return d.o.Client(draft.Region, token)
}

// newestContacts reads one page of contacts.
func newestContacts(ctx context.Context, client *intercom.Client) (list []record.Object, err error) {
	source := intercom.NewContacts(client, intercom.StreamOptions{Sample: sampledContacts, PageSize: sampledContacts})
	for page, err := range source.Pages(ctx, nil) {
		if err != nil {
			return nil, err
		}
		for _, o := range page.Items {
			if o.Gone == "" {
				list = append(list, o)
			}
		}
		break
	}
	return list, nil
}

// companiesOf reads companies of the contacts. There is no list of companies that a token with read permissions only may ask for, but for the scroll, and
// that locks out everybody else for a minute.
func companiesOf(ctx context.Context, client *intercom.Client, people []record.Item) (list []record.Object, err error) {
	var ids []string
	for _, p := range people {
		for _, ref := range p.Contact.Companies {
			if len(ids) < sampledCompanies && !slices.Contains(ids, ref.ID) {
				ids = append(ids, ref.ID)
			}
		}
	}
	found := make([]record.Object, len(ids))
	err = pipeline.ForEach(ctx, len(ids), sampledCompanies, func(ctx context.Context, i int) error {
		o, err := client.Fetch(ctx, record.KindCompany, ids[i])
		if err != nil && !intercom.IsOwnFault(err) {
			return err
		}
		if err == nil && o.Gone == "" {
			found[i] = o
		}
		return nil
	})
	return slices.DeleteFunc(found, func(o record.Object) bool { return o.ID == "" }), err
}

// extracted are the objects that can be read.
func extracted(ctx context.Context, list []record.Object) ([]record.Item, error) {
	result, err := extract.New(extract.Options{}).Process(ctx, list)
	return result.Items, err
}

// fill works out what each choice gives, by the stage that makes rows.
func (c *Choices) fill(ctx context.Context, items []record.Item, with func(field string) mapids.Config, fields []string) error {
	c.Sampled = len(items)
	slices.SortStableFunc(items, func(a, b record.Item) int { return cmp.Compare(rank(a), rank(b)) })
	for _, item := range items[:min(examples, len(items))] {
		c.Names = append(c.Names, clip(nameOf(item)))
	}
	for _, name := range attributes(items) {
		fields = append(fields, "custom_attributes."+name)
	}
	for _, field := range fields {
		values, err := externalIDs(ctx, items, with(field))
		if err != nil {
			return err
		}
		choice := Choice{Field: field}
		times := make(map[string]int)
		for _, v := range values {
			times[v]++
		}
		for i, v := range values {
			if i < len(c.Names) {
				choice.Values = append(choice.Values, clip(v))
			}
			if v == "" {
				choice.Empty++
			} else if times[v] > 1 {
				choice.Shared++
			}
		}
		c.List = append(c.List, choice)
	}
	return nil
}

// externalIDs maps the items, and returns the external_id of each.
func externalIDs(ctx context.Context, items []record.Item, config mapids.Config) ([]string, error) {
	stage, err := mapids.New(config)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(items))
	for i := range items { // one by one: what cannot be mapped leaves no row
		result, err := stage.Process(ctx, items[i:i+1])
		if err != nil {
			return nil, err
		}
		for _, change := range result.Items {
			switch {
			case change.EndUser != nil:
				values[i] = change.EndUser.ExternalID
			case change.Company != nil:
				values[i] = change.Company.ExternalID
			}
		}
	}
	return values, nil
}

// attributes are the names of the custom attributes that identify somebody, the most common first.
func attributes(items []record.Item) []string {
	times := make(map[string]int)
	for _, item := range items {
		for name, value := range customOf(item) {
			if identifies(value) && strings.TrimSpace(name) != "" {
				times[name]++
			}
		}
	}
	names := slices.SortedFunc(maps.Keys(times), func(a, b string) int {
		return cmp.Or(cmp.Compare(times[b], times[a]), strings.Compare(a, b))
	})
	return names[:min(len(names), maxAttributes)]
}

func customOf(item record.Item) map[string]json.RawMessage {
	switch {
	case item.Contact != nil:
		return item.Contact.Custom
	case item.Company != nil:
		return item.Company.Custom
	}
	return nil
}

// identifies reports whether a value can be somebody's id: a text or a number.
func identifies(canonical []byte) bool {
	return len(canonical) > 0 && (canonical[0] == '"' && string(canonical) != `""` || canonical[0] == '-' || canonical[0] >= '0' && canonical[0] <= '9')
}

// rank puts examples first that people know.
func rank(item record.Item) int {
	switch c := item.Contact; {
	case c == nil || c.Name != "" && c.Email != "":
		return 0
	case c.Name != "" || c.Email != "":
		return 1
	}
	return 2
}

func nameOf(item record.Item) string {
	switch {
	case item.Contact != nil:
		return cmp.Or(strings.TrimSpace(item.Contact.Name), strings.TrimSpace(item.Contact.Email), "contact "+item.Contact.ID)
	case item.Company != nil:
		return cmp.Or(strings.TrimSpace(item.Company.Name), "company "+item.Company.ID)
	}
	return ""
}

// clip keeps a hostile value from filling a page.
func clip(s string) string {
	if r := []rune(s); len(r) > maxExample {
		return string(r[:maxExample]) + "…"
	}
	return s
}
