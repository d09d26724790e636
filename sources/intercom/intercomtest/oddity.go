package intercomtest

import "strings"

// Oddities are things that a strict reader stumbles over although the API may
// send them at any time: open enums, ids of another type, nulls where a list is
// expected, texts that no database takes as they are.

const (
	oddNumericIDs = iota + 1
	oddZeroAssignee
	oddUnknownPart
	oddUnknownState
	oddUnknownFields
	oddNullLists
	oddEmptyBodies
	oddNullAuthor
	oddNobodyAdmin
	oddControlCharacters
	oddSurrogates
	oddHugeBody
	oddAttributes
	oddNoParts
	oddNumericID
	oddPlainBody
	oddWorkflowRating

	conversationOddities = oddWorkflowRating
)

const (
	contactOddNullLists = iota + 1
	contactOddNumericOwner
	contactOddEmptyStrings
	contactOddUnknownFields
	contactOddNullLocation
	contactOddAttributes

	contactOddities = contactOddAttributes
)

const (
	companyOddNullTags = iota + 1
	companyOddNullPlan
	companyOddNullNumbers
	companyOddNoCompanyID
	companyOddAttributes
	companyOddUnknownFields

	companyOddities = companyOddUnknownFields
)

const (
	ticketOddNullParts = iota + 1
	ticketOddUnknownState
	ticketOddNullAssignee
	ticketOddStringAssignee
	ticketOddUnknownFields
	ticketOddNullType

	ticketOddities = ticketOddNullType
)

// convOddities tells the encoder what to write differently.
type convOddities struct {
	numericID, nullAssignees, zeroAssignees  bool
	nullTags, nullTeammates, nullFiles       bool
	nullStatistics, nullParts, workflowRater bool
	state                                    string
	extra                                    string
}

// oddity makes an ordinary conversation a peculiar one.
func (b *builder) oddity(r *rng) {
	c := b.c
	each := func(f func(i int, p *part)) {
		for i := range c.parts {
			f(i, &c.parts[i])
		}
	}
	add := func(p part) {
		p.id = conversationPartID + uint64(c.index)*partsPerObject + uint64(len(c.parts))
		p.created, p.updated, p.notified, p.state = c.updated, c.updated, c.updated, c.state
		c.parts = append(c.parts, p)
	}
	switch c.odd {
	case oddNumericIDs:
		each(func(i int, p *part) { p.numericID = i%2 == 0 })
	case oddZeroAssignee:
		c.odds.zeroAssignees = true
	case oddUnknownPart:
		add(part{typ: "hologram_shown", author: b.adminPerson(c.admin), body: paragraphs("A part type that nobody has heard of.")})
	case oddUnknownState:
		c.odds.state = "pending_review"
	case oddUnknownFields:
		c.odds.extra = `,"copilot":{"used":true,"drafts":[1,2.5,null]},"weather":"rain"`
		each(func(_ int, p *part) { p.extra = `,"sentiment":{"score":-0.25}` })
	case oddNullLists:
		c.odds.nullTags, c.odds.nullTeammates, c.odds.nullFiles, c.odds.nullStatistics = true, true, true, true
		each(func(_ int, p *part) { p.nullFiles = true; p.files = nil })
		c.tags, c.files = nil, nil
	case oddEmptyBodies:
		add(part{typ: "comment", author: b.customerPerson(), body: text{}})
		add(part{typ: "comment", author: b.customerPerson(), body: text{html: "<p></p>"}})
		add(part{typ: "comment", author: b.customerPerson(), body: text{html: "<p> &nbsp;<br></p>"}})
	case oddNullAuthor:
		add(part{typ: "comment", noAuthor: true, body: paragraphs("Whoever wrote this is gone.")})
	case oddNobodyAdmin:
		add(part{typ: "assignment", author: b.adminPerson(c.admin), body: text{null: true}, assigned: reference{"nobody_admin", ""}})
	case oddControlCharacters:
		add(part{typ: "comment", author: b.customerPerson(), body: text{
			html: "<p>Here is the dump:\x00\x01 done\u200b.\u2028Next line\tand\ttabs</p>", plain: "Here is the dump:\x00\x01 done\u200b.\u2028Next line\tand\ttabs",
		}})
	case oddSurrogates:
		// The encoder passes bytes that are no UTF-8 on as they are.
		add(part{typ: "comment", author: b.customerPerson(), body: text{html: "<p>Broken \xff\xfe bytes and half a \xed\xa0\xbd face</p>", plain: "Broken \ufffd\ufffd bytes and half a \ufffd\ufffd\ufffd face"}})
	case oddHugeBody:
		line := strings.Repeat("The log goes on and on & on. ", 3000)
		add(part{typ: "comment", author: b.customerPerson(), body: paragraphs(strings.TrimSpace(line))})
	case oddAttributes:
		c.attributes = append(c.attributes, attribute{"status", `"vip"`}, attribute{"id", `7`}, attribute{"nested", `{"type":"x","instances":[]}`},
			attribute{"nothing", `null`}, attribute{"big", `12345678901234567890`})
	case oddNoParts:
		c.parts, c.rating = nil, nil
	case oddNumericID:
		c.odds.numericID = true
	case oddPlainBody:
		add(part{typ: "comment", author: b.customerPerson(), body: text{html: "2 < 3 && 5 > 4, no markup at all", plain: "2 < 3 && 5 > 4, no markup at all"}})
	case oddWorkflowRating:
		if c.rating == nil {
			c.rating = &rating{score: 4, requested: c.updated, replied: c.updated}
		}
		c.odds.workflowRater = true
	}
	_ = r
}
