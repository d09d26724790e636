package intercomtest

// longStride: one conversation in so many has more than the 500 parts that the
// API is willing to give.
const longStride = 5000

func isLong(i int) bool { return i%longStride == 17 }

// sourceKind is how a conversation came about.
type sourceKind struct {
	typ, deliveredAs string
	weight           int
	by               evKind // who wrote the opening message
}

// The kinds of source, most frequent first. The set is open from 2.16 on, which
// is why the last one is in no documentation.
var sourceKinds = [...]sourceKind{
	{"conversation", "customer_initiated", 520, evCustomer},
	{"email", "customer_initiated", 300, evCustomer},
	{"conversation", "admin_initiated", 60, evAgent},
	{"conversation", "operator_initiated", 50, evBot},
	{"whatsapp", "customer_initiated", 25, evCustomer},
	{"phone_call", "customer_initiated", 20, evCustomer},
	{"email", "campaign_initiated", 15, evAgent},
	{"twitter", "customer_initiated", 5, evCustomer},
	{"holo_call", "customer_initiated", 5, evCustomer},
}

const (
	sourceEmail    = 1
	sourcePhone    = 5
	sourceCampaign = 6
)

// ticketSlot is the conversation beside which ticket j was opened.
func (s *synthetic) ticketSlot(j int) int {
	return int(int64(j) * int64(s.sizes[Conversations]) / int64(s.sizes[Tickets]))
}

func (s *synthetic) ticketConversation(j int) int {
	if j >= s.sizes[Tickets] || s.sizes[Conversations] < s.sizes[Tickets] {
		return -1
	}
	if ticketTypes[s.ticketType(j)].category != "Customer" || mix64(s.seed+uint64(j)*131)%10 >= 8 {
		return -1
	}
	return s.ticketSlot(j)
}

// conversationTicket is the inverse of ticketConversation.
func (s *synthetic) conversationTicket(i int) int {
	n, t := int64(s.sizes[Conversations]), int64(s.sizes[Tickets])
	if t == 0 || n < t || int64(i) >= n {
		return -1
	}
	j := int((int64(i)*t + n - 1) / n)
	if j < int(t) && s.ticketConversation(j) == i {
		return j
	}
	return -1
}

func (s *synthetic) head(i int, created int64) convHead {
	r := newRNG(s.seed, streamConversationHead, i)
	h := convHead{index: i, created: created, admin: -1, team: -1}
	switch k := r.n(1000); {
	case k < 30:
		h.turns = 0
	case k < 990:
		h.turns = 1 + r.n(6) + r.n(6)
	default:
		h.turns = r.between(20, 60)
	}
	if isLong(i) {
		h.long, h.turns = true, r.between(560, 900)
	}
	switch k := r.n(100); {
	case k < 70:
		h.state = stateClosed
	case k < 92:
		h.state = stateOpen
	default:
		h.state = stateSnoozed
	}
	h.contact = s.conversationContact(&r, i)
	k := r.n(1000)
	for h.source = range sourceKinds {
		if k -= sourceKinds[h.source].weight; k < 0 {
			break
		}
	}
	if !r.permille(150) {
		h.admin = r.n(len(s.staff))
	}
	if r.permille(600) {
		h.team = r.n(len(s.voc.teams))
	}
	if r.permille(s.odds) {
		h.odd = 1 + r.n(conversationOddities)
	}
	h.updated = s.later(&r, created, h.turns < 3)
	h.ticket = s.conversationTicket(i)
	return h
}

// conversationContact prefers contacts that exist by then, and among them the
// recent ones.
func (s *synthetic) conversationContact(r *rng, i int) int {
	n := s.sizes[Contacts]
	k := r.n(1000)
	switch {
	case n == 0 || k < 5:
		return contactNone
	case k < 10:
		return ghostBase + i // deleted long ago
	}
	known := n
	if c := s.sizes[Conversations]; i < c {
		known = int(int64(i)*int64(n)/int64(c)) + 1
	}
	if k < 500 {
		known = max(1, min(known, n))
		return known - 1 - r.n(max(1, known/4))
	}
	return r.n(min(known, n))
}

func (s *synthetic) conversation(h convHead, customer *contact) *conversation {
	r := newRNG(s.seed, streamConversationBody, h.index)
	c := &conversation{
		convHead: h, id: conversationID(h.index), company: -1,
		sourceID:    decimal(sourceIDBase + uint64(h.index)),
		deliveredAs: sourceKinds[h.source].deliveredAs,
	}
	email := ""
	if customer != nil {
		email = customer.email
		if len(customer.companies) > 0 {
			c.company = customer.companies[0]
		}
	}
	b := builder{
		s: s, r: &r, c: c, customer: customer, w: newWriter(&r, s.voc, h.created, email),
		topic: pick(&r, s.voc.topics),
	}
	b.source()
	b.sequence()
	b.parts()
	b.finish(&r)
	return c
}

// finish sets what depends on all parts.
func (b *builder) finish(r *rng) {
	c := b.c
	switch k := r.n(1000); {
	case k < 550:
		c.tags = append(c.tags, appliedTag{tag: b.tagNamed(b.topic.tag), at: c.created + 60, by: b.adminRef()})
	case k < 600:
		for range 2 {
			c.tags = append(c.tags, appliedTag{tag: r.n(len(b.s.voc.tags)), at: c.updated, by: reference{"contact", b.customerPerson().id}})
		}
	}
	if r.permille(80) {
		c.priority = r.between(1, 4)
	}
	c.read = r.permille(700)
	if c.state == stateOpen {
		if n := len(c.parts); n > 0 && c.parts[n-1].author.typ == "user" {
			c.waitingSince = c.parts[n-1].created
		}
	}
	if c.state == stateSnoozed {
		c.snoozedUntil = c.updated + int64(r.between(3600, 14*86400))
	}
	c.teammates = []int{max(0, c.admin)}
	switch k := r.n(100); {
	case k < 15:
		c.slaName, c.slaStatus = "First reply in 2 hours", pick(r, []string{"hit", "missed", "cancelled", "active"})
	}
	if r.permille(300) {
		c.attributes = append(c.attributes, attribute{"Topic", quoteJSON(b.topic.name)})
	}
	if r.permille(100) {
		c.attributes = append(c.attributes, attribute{"Order value", "129.95"}, attribute{"Has attachments", "false"})
	}
	if c.url == "" && c.source == 0 {
		c.url = "https://app.acme.example/" + b.topic.name
	}
	if r.permille(10) {
		c.linked = append(c.linked, link{"conversation", conversationID(max(0, c.index-1)), ""})
	}
	if c.ticket >= 0 {
		c.title = b.w.fill(pick(r, b.topic.subjects))
	} else if r.permille(150) {
		c.title = b.w.fill(pick(r, b.topic.subjects))
	}
	if c.odd != 0 {
		b.oddity(r)
	}
}

func (b *builder) tagNamed(name string) int {
	for i, t := range b.s.voc.tags {
		if t == name {
			return i
		}
	}
	return 0
}
