package webhook

import (
	"strings"

	"haloingest/pipeline/record"
)

// topic is what is known of a topic.
type topic struct {
	kinds []record.Kind // of the objects that are to be read again; the first is the one that the item is, if it is not wrapped
	gone  bool          // it tells of a deletion
}

var (
	ofContact      = topic{kinds: []record.Kind{record.KindContact}}
	ofCompany      = topic{kinds: []record.Kind{record.KindCompany}}
	ofConversation = topic{kinds: []record.Kind{record.KindConversation}}
	ofTicket       = topic{kinds: []record.Kind{record.KindTicket}}
	ofBoth         = topic{kinds: []record.Kind{record.KindCompany, record.KindContact}}
)

func deleted(t topic) topic {
	t.gone = true
	return t
}

// topics are those that lead to work: the eight that the integration's documentation names, under their old and their present names, and the
// useful ones beside them (fact sheet, sections 5.1 and 5.2). Whatever else there is, ping included, is answered and needs no work.
var topics = map[string]topic{
	// Documented. contact.created, contact.updated and user.created are names of API 1.x or of no version at all.
	"conversation.user.created":  ofConversation,
	"conversation.user.replied":  ofConversation,
	"conversation.admin.replied": ofConversation,
	"ticket.created":             ofTicket,
	"ticket.state.updated":       ofTicket,
	"contact.created":            ofContact,
	"contact.updated":            ofContact,
	"user.created":               ofContact,
	"contact.user.created":       ofContact,
	"contact.lead.created":       ofContact,
	"contact.user.updated":       ofContact,
	"contact.lead.updated":       ofContact,

	"user.updated":               ofContact, // 1.x
	"user.deleted":               deleted(ofContact),
	"user.email.updated":         ofContact,
	"user.unsubscribed":          ofContact,
	"user.tag.created":           ofContact,
	"user.tag.deleted":           ofContact,
	"contact.email.updated":      ofContact,
	"contact.added_email":        ofContact,
	"contact.signed_up":          ofContact,
	"contact.tag.created":        ofContact,
	"contact.tag.deleted":        ofContact,
	"contact.lead.added_email":   ofContact,
	"contact.lead.signed_up":     ofContact,
	"contact.merged":             ofContact, // shows the survivor; who vanished is in its merge_history
	"contact.deleted":            deleted(ofContact),
	"contact.archived":           ofContact,
	"contact.archive":            ofContact,
	"contact.unarchive":          ofContact,
	"contact.unarchived":         ofContact,
	"contact.subscribed":         ofContact,
	"contact.unsubscribed":       ofContact,
	"contact.user.tag.created":   ofContact,
	"contact.user.tag.deleted":   ofContact,
	"contact.lead.tag.created":   ofContact,
	"contact.lead.tag.deleted":   ofContact,
	"visitor.signed_up":          ofContact,
	"company.created":            ofCompany,
	"company.updated":            ofCompany,
	"company.deleted":            deleted(ofCompany),
	"company.contact.attached":   ofBoth,
	"company.contact.detached":   ofBoth,
	"conversation.admin.noted":   ofConversation,
	"conversation.admin.closed":  ofConversation,
	"conversation.admin.opened":  ofConversation,
	"conversation.admin.snoozed": ofConversation,

	"conversation.admin.single.created": ofConversation,
	"conversation.admin.assigned":       ofConversation,
	"conversation.admin.open.assigned":  ofConversation,
	"conversation.admin.unsnoozed":      ofConversation,
	"conversation.contact.attached":     ofConversation,
	"conversation.contact.detached":     ofConversation,
	"conversation.operator.replied":     ofConversation,
	"conversation.priority.updated":     ofConversation,
	"conversation.rating.added":         ofConversation,
	"conversation.read":                 ofConversation,
	"conversation.deleted":              deleted(ofConversation),
	"conversation_part.redacted":        ofConversation,
	"conversation_part.tag.created":     ofConversation,

	"ticket.admin.replied":     ofTicket,
	"ticket.contact.replied":   ofTicket,
	"ticket.note.created":      ofTicket,
	"ticket.admin.assigned":    ofTicket,
	"ticket.team.assigned":     ofTicket,
	"ticket.contact.attached":  ofTicket,
	"ticket.contact.detached":  ofTicket,
	"ticket.attribute.updated": ofTicket,
	"ticket.rating.provided":   ofTicket,
	"ticket.closed":            ofTicket,
	"ticket.resolved":          ofTicket,
	"ticket.deleted":           deleted(ofTicket),
}

// Known reports whether deliveries of the topic lead to work.
func Known(name string) bool {
	_, ok := topics[name]
	return ok
}

// kindOf is the kind of an item by its type, "" if it is none of ours.
func kindOf(itemType string) record.Kind {
	switch strings.TrimSuffix(itemType, ".list") {
	case "contact", "user", "lead", "visitor":
		return record.KindContact
	case "company":
		return record.KindCompany
	case "conversation":
		return record.KindConversation
	case "ticket":
		return record.KindTicket
	}
	return ""
}

// wrapped are the members by which an item that is something else names an object of a kind.
var wrapped = map[record.Kind][]string{
	record.KindContact:      {"contact", "user", "lead", "visitor"},
	record.KindCompany:      {"company"},
	record.KindConversation: {"conversation"},
	record.KindTicket:       {"ticket"},
}
