package intercomtest

// The types below are the state of the workspace. The JSON of the API and the
// ledger are both made from them, independently of each other.

// state of a conversation.
type convState uint8

const (
	stateOpen convState = iota
	stateClosed
	stateSnoozed
)

func (s convState) String() string { return [...]string{"open", "closed", "snoozed"}[s] }

// contactNone marks a conversation without a contact.
const contactNone = -1

// convHead is what lists are ordered, counted and mostly filtered by. It costs
// a few draws of the generator, unlike the whole conversation.
type convHead struct {
	index            int
	created, updated int64 // unix seconds
	state            convState
	contact          int // index, contactNone, or from ghostBase on one that does not exist
	ticket           int // index of the ticket that this conversation is as well, or -1
	source           int // index into sourceKinds
	admin, team      int // assignee indexes, -1 is nobody
	turns            int
	long             bool
	odd              int // 0 is an ordinary object
}

type person struct {
	typ, id, name, email  string
	noID, noName, noEmail bool // null in the API
	fromAI, aiAnswer      bool
}

type reference struct{ typ, id string }

type file struct {
	name, contentType string
	size              int
	width, height     int // 0 for what is not an image
	key               uint64
}

type emailHeaders struct {
	messageID, subject string
	from, to           [2]string // address, name
	history            string    // HTML of the quoted thread, source only
}

// text is a body in the three forms that matter: what the API sends, what the
// author wrote, and what the author only quoted.
type text struct {
	html, plain, quoted string
	null                bool
}

type part struct {
	id                         uint64
	typ                        string
	body                       text
	created, updated, notified int64
	author                     person
	noAuthor                   bool
	assigned                   reference // typ "" is null
	files                      []file
	externalID                 string
	redacted                   bool
	state                      convState
	event                      string // JSON of event_details, "" is null
	email                      *emailHeaders
	app                        string
	quickReply                 []string // offered answers
	quickReplyID               string   // the answer that was chosen
	tags                       []int
	numericID                  bool
	nullFiles, nullAssigned    bool
	extra                      string // further members, as JSON beginning with a comma
	ticketState                string // ticket parts: the state's category from here on
	previousTicketState        string
	attribute                  string // ticket parts: JSON of updated_attribute_data
}

type appliedTag struct {
	tag int
	at  int64
	by  reference
}

type rating struct {
	score     int // 0 is asked for, not given
	remark    string
	requested int64
	replied   int64
	admin     reference
}

type conversation struct {
	convHead
	id           string
	sourceID     string
	title        string
	subject      string
	body         text
	author       person
	files        []file
	deliveredAs  string
	url          string
	redacted     bool
	email        *emailHeaders
	contacts     []contactRef
	tags         []appliedTag
	rating       *rating
	parts        []part
	priority     int // 0 none to 4 urgent
	read         bool
	waitingSince int64
	snoozedUntil int64
	company      int // index, -1 is none
	attributes   []attribute
	teammates    []int
	slaName      string
	slaStatus    string
	ai           *aiAgent
	linked       []link
	dialogID     string
	odds         convOddities
}

type link struct{ typ, id, category string }

type aiAgent struct {
	title, answer, resolution, remark string
	rating                            int
	created, updated                  int64
}

// contactRef is how a conversation or ticket names a contact.
type contactRef struct {
	id, externalID string
	noExternalID   bool
}

// attribute is one custom attribute; value is JSON.
type attribute struct{ name, value string }

type contact struct {
	index                           int
	id                              string
	externalID                      string // "" is null
	role                            string
	email, phone, name              string // "" is null
	owner                           int    // admin index, -1 is none
	created, updated                int64
	signedUp, lastSeen, lastReplied int64 // 0 is null
	lastContacted, lastOpened       int64
	companies                       []int
	tags, segments                  []int
	notes                           int
	attributes                      []attribute
	place                           [3]string // country, region, city
	browser, os, language           string
	utmSource, referrer             string
	avatar                          bool
	bounced, spam, unsubscribed     bool
	odd                             int
	mergedFrom                      []mergeEntry
	mergedInto                      string // id of the surviving contact, for the ledger
}

type mergeEntry struct {
	id, role string
	at       int64
}

type company struct {
	index                                 int
	id                                    string
	companyID                             string // "" is null
	name                                  string // "" is null or absent
	noName                                bool   // absent rather than null
	plan                                  int    // index into plans, -1 is {}
	size                                  int
	website, industry                     string
	spend                                 string // JSON number
	sessions                              int
	created, updated, remote, lastRequest int64
	tags, segments                        []int
	notes                                 int
	attributes                            []attribute
	odd                                   int
}

type ticket struct {
	index            int
	id               string
	number           int
	conversation     int // index of the conversation that this ticket is as well, or -1
	typ              int // index into ticketTypes
	state            int // index into ticketStates
	previousState    int // -1 is none
	created, updated int64
	title            string // "" is absent
	description      string // "" is null
	attributes       []attribute
	contacts         []contactRef
	contact          int
	admin, team      int
	snoozedUntil     int64
	shared           bool
	linked           []link
	parts            []part
	odd              int
}
