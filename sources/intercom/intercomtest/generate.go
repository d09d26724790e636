package intercomtest

import (
	"fmt"
	"strings"
)

// content makes objects out of their indexes. It knows nothing of changes: the
// Workspace lays them over what comes from here. Methods are pure and may be
// called by several goroutines at once.
type content interface {
	size(k Kind) int
	// created is when object i came into being; it grows with i.
	created(k Kind, i int) int64
	// updated is when object i of the untouched workspace was last changed.
	updated(k Kind, i int) int64
	head(i int, created int64) convHead
	conversation(h convHead, customer *contact) *conversation
	contact(i int, created int64) *contact
	company(i int, created int64) *company
	ticket(i int, created int64) *ticket
	ticketParts(t *ticket, customer *contact)
	// contactCompanies gives the companies of a contact without making the rest.
	contactCompanies(i int, buf []int) []int
	// ticketConversation gives the conversation that ticket i is as well, or -1.
	ticketConversation(i int) int
	contactByExternalID(id string) (int, bool)
	admins() []admin
}

type admin struct {
	id, name, email string
	teams           []int
	removed         bool // no longer listed, but still an author of parts
}

// synthetic is the generated workspace.
type synthetic struct {
	seed       uint64
	odds       int
	start, end int64
	sizes      map[Kind]int
	voc        *vocabulary
	ids        scrambler
	staff      []admin
}

func newSynthetic(o Options) *synthetic {
	s := &synthetic{
		seed: o.Seed, odds: o.Oddities, start: o.Start.Unix(), end: o.Start.Add(o.Span).Unix(),
		sizes: map[Kind]int{
			Contacts: o.Contacts, Companies: o.Companies, Conversations: o.Conversations, Tickets: o.Tickets,
		},
		voc: newVocabulary(),
		ids: scrambler{mask: o.Seed},
	}
	for i, name := range s.voc.admins {
		s.staff = append(s.staff, admin{
			id:      fmt.Sprint(991267400 + i*37),
			name:    name,
			email:   strings.ToLower(strings.ReplaceAll(asciiFold(name), " ", ".")) + "@support.example",
			teams:   []int{i % len(s.voc.teams)},
			removed: i == len(s.voc.admins)-1,
		})
	}
	return s
}

func (s *synthetic) admins() []admin { return s.staff }
func (s *synthetic) size(k Kind) int { return s.sizes[k] }

// span is the share of the time line on which objects are created; the rest is
// left for the last of them to be worked on.
func (s *synthetic) span() int64 { return (s.end - s.start) * 98 / 100 }

func (s *synthetic) created(k Kind, i int) int64 {
	if k == Tickets {
		if c := s.ticketConversation(i); c >= 0 {
			return s.created(Conversations, c)
		}
	}
	return s.spread(k, i)
}

func (s *synthetic) spread(k Kind, i int) int64 {
	n := int64(s.sizes[k])
	if k == Tickets && s.sizes[Conversations] >= s.sizes[Tickets] {
		// Between the conversations that tickets are linked to, so that the
		// order of creation is the order of indexes.
		return s.spread(Conversations, s.ticketSlot(i))
	}
	from, to := s.span()*int64(i)/n, s.span()*int64(i+1)/n
	if w := to - from; w > 1 {
		return s.start + from + int64(mix64(s.seed^uint64(i)<<3^uint64(len(k)))%uint64(w))
	}
	return s.start + from
}

func (s *synthetic) updated(k Kind, i int) int64 {
	switch k {
	case Conversations:
		return s.head(i, s.created(k, i)).updated
	case Tickets:
		return s.ticketUpdated(i, s.created(k, i))
	case Contacts:
		return s.contactUpdated(i, s.created(k, i))
	default:
		return s.companyUpdated(i, s.created(k, i))
	}
}

// later gives a time some while after t, inside the life of the workspace. One
// in a hundred falls on a full hour, as bulk edits do, so that many rows share
// the very second.
func (s *synthetic) later(r *rng, t int64, quick bool) int64 {
	var d int64
	switch k := r.n(100); {
	case k < 40 || quick && k < 90:
		d = int64(r.between(20*60, 3*3600))
	case k < 85:
		d = int64(r.between(3*3600, 3*86400))
	default:
		d = int64(r.between(3*86400, 30*86400))
	}
	u := t + d
	if r.permille(10) {
		u = (u/3600 + 1) * 3600
	}
	return min(u, max(s.end, t+900))
}

// attributesOf draws custom attributes. Some are named like columns of Halo's
// tables, which must not be mistaken for them.
func (s *synthetic) attributesOf(r *rng, odd bool) []attribute {
	var out []attribute
	add := func(name, value string) { out = append(out, attribute{name, value}) }
	if r.permille(600) {
		add("plan_tier", quoteJSON(strings.ToLower(pick(r, s.voc.plans))))
	}
	if r.permille(400) {
		add("seats", fmt.Sprint(r.between(1, 250)))
	}
	if r.permille(300) {
		add("mrr", fmt.Sprintf("%d.%02d", r.n(5000), r.n(100)))
	}
	if r.permille(300) {
		add("is_partner", fmt.Sprint(r.permille(500)))
	}
	if r.permille(250) {
		add("renewal_at", fmt.Sprint(s.start+int64(r.n(int(s.end-s.start)))))
	}
	if r.permille(150) {
		add("crm_id", quoteJSON(fmt.Sprintf("CRM-%06d", r.n(1000000))))
	}
	if r.permille(80) {
		add("Preferred contact time (local)", quoteJSON(pick(r, []string{"mornings", "after 17:00", "nachmittags – außer Fr."})))
	}
	if r.permille(50) || odd {
		add("last_seen", quoteJSON("never"))
		add("company_id", fmt.Sprint(r.n(1000)))
		add("email", quoteJSON("not-an-address"))
	}
	if r.permille(30) || odd {
		add("nothing", "null")
		add("big", "12345678901234567890")
	}
	return out
}

func asciiFold(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c < 0x80:
			b.WriteRune(c)
		case strings.ContainsRune("öóøō", c):
			b.WriteByte('o')
		case strings.ContainsRune("äáãà", c):
			b.WriteByte('a')
		case strings.ContainsRune("üú", c):
			b.WriteByte('u')
		case strings.ContainsRune("ëéè", c):
			b.WriteByte('e')
		case strings.ContainsRune("íï", c):
			b.WriteByte('i')
		default:
			b.WriteByte('x')
		}
	}
	return b.String()
}
