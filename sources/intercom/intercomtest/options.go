package intercomtest

import (
	"fmt"
	"time"
)

// Kind names one of the four kinds of object that a workspace is walked for.
type Kind string

// The kinds, spelled as in the API's paths.
const (
	Contacts      Kind = "contacts"
	Companies     Kind = "companies"
	Conversations Kind = "conversations"
	Tickets       Kind = "tickets"
)

// Kinds lists the kinds in the order in which a migration reads them.
func Kinds() []Kind { return []Kind{Contacts, Companies, Conversations, Tickets} }

// Scope is a set of permissions of an access token.
type Scope uint

// The permissions that matter to somebody who reads a workspace. Contacts and
// companies are one permission in Intercom's own list; they are two here so
// that the lack of each can be tried.
const (
	ScopeContacts Scope = 1 << iota
	ScopeCompanies
	ScopeConversations
	ScopeTickets
	ScopeAdmins
	ScopeTags
	// ScopeWriteCompanies is what POST /companies/list asks for.
	ScopeWriteCompanies

	// ScopeRead is every read permission and no write permission, the token
	// that an integration ought to be given.
	ScopeRead = ScopeContacts | ScopeCompanies | ScopeConversations | ScopeTickets | ScopeAdmins | ScopeTags
)

// Order is a sort order of rows.
type Order struct {
	// Field is created_at or updated_at.
	Field string
	// Descending puts the newest row first.
	Descending bool
}

// Options says what the workspace holds and how its API behaves. The zero value
// is a small, healthy US workspace without latency and without a rate limit.
type Options struct {
	// Seed selects the workspace. Equal options give equal workspaces.
	Seed uint64

	// Conversations is 200 if zero (or the number of Dialogs, if there are any).
	Conversations int
	// Contacts, Companies and Tickets follow from Conversations if zero: a
	// half, a fiftieth and a twentieth of it. Negative means none.
	Contacts, Companies, Tickets int
	// Dialogs, if any, replace the generated conversations by real dialogues;
	// see ReadDialogs. Contacts and companies then follow from them.
	Dialogs []Dialog
	// Oddities is the share of objects, in thousandths, that carry one of the
	// peculiarities that the API is known for (ids as numbers, unknown enum
	// values, null lists and so on). 20 if zero, none if negative.
	Oddities int

	// Start is when the first object was created (2024-01-01 UTC if zero), Span
	// the time until the last one was touched (two years if zero).
	Start time.Time
	Span  time.Duration

	// Token is what clients must send (a fixed test token if empty), Scopes
	// what it may do (ScopeRead if zero).
	Token  string
	Scopes Scope
	// ScopeStatus and ScopeCode answer a request whose scope is missing: 403
	// token_unauthorized if zero. 401, forbidden and api_plan_restricted have
	// been seen as well.
	ScopeStatus int
	ScopeCode   string
	// AppID is the workspace id, AppName its name.
	AppID, AppName string
	// NoApp leaves the app out of /me, as its type allows.
	NoApp bool
	// Region is US, EU or AU as /me reports it (US if empty).
	Region string
	// Timezone is an IANA name (America/Los_Angeles if empty). Contact search
	// compares dates by its days.
	Timezone string
	// DefaultVersion answers requests that name no version, as the app's page
	// in the Developer Hub decides (2.16 if empty).
	DefaultVersion string

	// RateLimit is the budget of requests per minute, spread over 10 second
	// windows. Zero is no limit and no X-RateLimit headers.
	RateLimit int
	// OtherAppShare is the share (0 to 1) of the budget that another app uses up
	// evenly.
	OtherAppShare float64
	// Latency is added to every reply, and a random part of Jitter.
	Latency, Jitter time.Duration
	// Faults break replies; see Fault.
	Faults []Fault

	// ListOrder is the order of lists, and of searches that name no sort, per
	// kind. Intercom documents none; the default is created_at descending for
	// contacts and updated_at descending for conversations and tickets.
	ListOrder map[Kind]Order
	// SearchDelay hides contacts from search for so long after their creation.
	SearchDelay time.Duration
	// MidnightBlind hides contacts from search whose updated_at lies so close to
	// midnight UTC, until they change again, as has been reported of the real API.
	MidnightBlind time.Duration
	// InclusiveBounds makes > and < on conversations and tickets mean "or equal",
	// as their documentation has it; the default is strict, as others found.
	InclusiveBounds bool
	// SilentRedaction leaves updated_at alone when a part is redacted.
	SilentRedaction bool
	// ScrollIdle is how long an unused company scroll stays open, a minute if zero.
	ScrollIdle time.Duration
	// ScrollPage is the page size of the company scroll, 100 if zero.
	ScrollPage int

	// Files has the workspace serve the files of attachments, texts and ticket
	// attributes from its own host, by signed addresses. Without it their
	// addresses lead nowhere and do not depend on where the workspace listens.
	Files bool
	// FileLife is how long such an address is good, 30 minutes if zero.
	FileLife time.Duration
	// FileSize is the size of every file in bytes; zero are sizes of all kinds.
	FileSize int

	// Now is the server's clock, time.Now if nil. It dates changes, rate
	// windows, scrolls and signed URLs; generated objects do not depend on it.
	Now func() time.Time
	// BaseURL is put before paths in the links of page-numbered lists; filled in
	// by Start.
	BaseURL string
}

// TestToken is the access token of a workspace that was given none.
const TestToken = "sim-dG9rOjAxMjM0NTY3X3NpbXVsYXRlZA"

func (o Options) withDefaults() (Options, error) {
	def := func(v *int, n int) {
		switch {
		case *v == 0:
			*v = n
		case *v < 0:
			*v = 0
		}
	}
	def(&o.Oddities, 20)
	if o.Start.IsZero() {
		o.Start = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if o.Span == 0 {
		o.Span = 2 * 365 * 24 * time.Hour
	}
	if len(o.Dialogs) == 0 {
		def(&o.Conversations, 200)
		def(&o.Contacts, max(1, o.Conversations/2))
		def(&o.Companies, max(1, o.Conversations/50))
		def(&o.Tickets, o.Conversations/20)
	}
	if o.Token == "" {
		o.Token = TestToken
	}
	if o.Scopes == 0 {
		o.Scopes = ScopeRead
	}
	if o.ScopeStatus == 0 {
		o.ScopeStatus = 403
	}
	if o.ScopeCode == "" {
		o.ScopeCode = "token_unauthorized"
	}
	if o.AppID == "" {
		o.AppID = fmt.Sprintf("sim%05x", mix64(o.Seed)&0xfffff)
	}
	if o.AppName == "" {
		o.AppName = "Simulated workspace"
	}
	if o.Region == "" {
		o.Region = "US"
	}
	if o.Timezone == "" {
		o.Timezone = "America/Los_Angeles"
	}
	if o.DefaultVersion == "" {
		o.DefaultVersion = "2.16"
	}
	if o.ScrollIdle == 0 {
		o.ScrollIdle = time.Minute
	}
	if o.ScrollPage == 0 {
		o.ScrollPage = 100
	}
	if o.FileLife == 0 {
		o.FileLife = 30 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	orders := map[Kind]Order{
		Contacts:      {Field: "created_at", Descending: true},
		Conversations: {Field: "updated_at", Descending: true},
		Tickets:       {Field: "updated_at", Descending: true},
	}
	for k, v := range o.ListOrder {
		orders[k] = v
	}
	o.ListOrder = orders

	switch {
	case o.Region != "US" && o.Region != "EU" && o.Region != "AU":
		return o, fmt.Errorf("region %q: want US, EU or AU", o.Region)
	case o.OtherAppShare < 0 || o.OtherAppShare > 1:
		return o, fmt.Errorf("other app's share %v: want 0 to 1", o.OtherAppShare)
	case o.RateLimit < 0:
		return o, fmt.Errorf("rate limit %d: want 0 or more requests a minute", o.RateLimit)
	case o.FileLife < time.Second || o.FileSize < 0:
		return o, fmt.Errorf("files of %d bytes for %v: want none or more, and a second or more", o.FileSize, o.FileLife)
	case o.Span < time.Hour:
		return o, fmt.Errorf("span %v: want at least an hour", o.Span)
	case o.Conversations >= ghostBase || o.Contacts >= ghostBase || o.Companies >= ghostBase || o.Tickets >= ghostBase:
		return o, fmt.Errorf("more than %d objects of one kind", ghostBase-1)
	}
	if _, ok := parseVersion(o.DefaultVersion); !ok {
		return o, fmt.Errorf("default version %q is no version of the API", o.DefaultVersion)
	}
	return o, nil
}
