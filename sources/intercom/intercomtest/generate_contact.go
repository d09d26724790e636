package intercomtest

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	idContact = iota + 1
	idCompany
	idSegment
	idExternal
)

// mergedStride: one contact in so many has swallowed another one before the
// workspace was opened; those contacts are always users.
const mergedStride = 200

func hasSwallowed(i int) bool { return i%mergedStride == 7 }

func (s *synthetic) contactRole(i int) string {
	if !hasSwallowed(i) && mix64(s.seed+uint64(i)*31)%10 < 3 {
		return "lead"
	}
	return "user"
}

// contactIdentity gives a contact's own name and e-mail address.
func (s *synthetic) contactIdentity(i int) (name, email string) {
	r := newRNG(s.seed, streamReference, i)
	first, last := pick(&r, s.voc.first), pick(&r, s.voc.last)
	host := pick(&r, []string{"example.com", "mail.example", "acme.example", "post.example", "works.example"})
	email = strings.ToLower(asciiFold(first)) + "." + strings.ToLower(strings.ReplaceAll(asciiFold(last), "'", "")) +
		strconv.Itoa(i) + "@" + host
	return first + " " + last, email
}

func (s *synthetic) contactUpdated(i int, created int64) int64 {
	r := newRNG(s.seed, streamContact, i)
	return s.later(&r, created, false)
}

func (s *synthetic) contactID(i int, created int64) string { return s.ids.hexID(idContact, i, created) }

func (s *synthetic) contactCompanies(i int, buf []int) []int {
	n := s.sizes[Companies]
	if n == 0 {
		return buf[:0]
	}
	r := newRNG(s.seed, streamContactCompanies, i)
	want := 0
	switch k := r.n(1000); {
	case k < 350:
	case k < 900:
		want = 1
	case k < 990:
		want = r.between(2, 3)
	default:
		want = r.between(11, 14) // more than an inline list holds
	}
	want = min(want, n)
	buf = buf[:0]
	// The last company in fifty has no people, as happens to companies that
	// were made through the API.
	peopled := max(1, n-n/50)
	at := r.n(peopled)
	for len(buf) < want && len(buf) < peopled {
		buf = append(buf, at%peopled)
		at++
	}
	return buf
}

// externalID numbers users as a customer's own database would.
func (s *synthetic) externalID(i int) string {
	return "u_" + strconv.FormatUint(s.ids.mix(idExternal, uint64(i)), 36)
}

func (s *synthetic) contactByExternalID(id string) (int, bool) {
	rest, ok := strings.CutPrefix(id, "u_")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(rest, 36, 64)
	if err != nil {
		return 0, false
	}
	i := s.ids.unmix(idExternal, v)
	if i > 1<<40 {
		return 0, false
	}
	return int(i), true
}

func (s *synthetic) contact(i int, created int64) *contact {
	r := newRNG(s.seed, streamContact, i)
	c := &contact{index: i, id: s.contactID(i, created), role: s.contactRole(i), owner: -1, created: created}
	c.updated = s.later(&r, created, false)
	if r.permille(s.odds) {
		c.odd = 1 + r.n(contactOddities)
	}
	c.name, c.email = s.contactIdentity(i)
	if c.role == "user" {
		c.externalID = s.externalID(i)
		c.signedUp = created
		switch k := r.n(1000); {
		case k < 30: // a user known by e-mail only
			c.externalID = ""
		case k < 50:
			c.email = ""
		case k < 60 && i > 0: // two accounts of one person
			_, c.email = s.contactIdentity(r.n(i))
		}
	} else {
		switch k := r.n(1000); {
		case k < 200:
			c.email = ""
			c.name = ""
		case k < 450 && i > 0: // a visitor who is a user already, but was not logged in
			for range 8 {
				if j := r.n(i); s.contactRole(j) == "user" {
					c.name, c.email = s.contactIdentity(j)
					break
				}
			}
		}
	}
	if c.email != "" && r.permille(40) { // typed by hand
		switch r.n(3) {
		case 0:
			c.email = strings.ToUpper(c.email[:1]) + c.email[1:]
		case 1:
			c.email = strings.ToUpper(c.email)
		default:
			c.email = " " + c.email + " "
		}
	}
	if r.permille(60) {
		c.name = ""
	}
	if r.permille(200) {
		c.phone = fmt.Sprintf("+49 30 5550%04d", r.n(10000))
	}
	if r.permille(150) || c.odd == contactOddNumericOwner {
		c.owner = r.n(len(s.staff))
	}
	at := func(p int) int64 {
		if !r.permille(p) || c.updated <= created {
			return 0
		}
		return created + int64(r.n(int(c.updated-created)))
	}
	c.lastSeen, c.lastReplied, c.lastContacted, c.lastOpened = at(700), at(400), at(500), at(200)
	c.companies = s.contactCompanies(i, nil)
	switch k := r.n(1000); {
	case k < 250:
		c.tags = []int{r.n(len(s.voc.tags))}
	case k < 255:
		for t := range min(12, len(s.voc.tags)) {
			c.tags = append(c.tags, t)
		}
	}
	if r.permille(500) {
		c.segments = []int{r.n(len(s.voc.segments))}
	}
	switch k := r.n(1000); {
	case k < 80:
		c.notes = r.between(1, 3)
	case k < 83:
		c.notes = 12
	}
	if c.odd == contactOddNullLists {
		c.tags, c.notes = nil, 0
	}
	c.attributes = s.attributesOf(&r, c.odd == contactOddAttributes)
	if r.permille(700) {
		c.place = pick(&r, s.voc.places)
		c.browser, c.os, c.language = pick(&r, []string{"chrome", "firefox", "safari"}), pick(&r, []string{"Windows 10", "OS X 10.15.7", "Android 14"}), pick(&r, []string{"en", "de", "fr"})
	}
	if r.permille(150) {
		c.utmSource, c.referrer = "newsletter", "https://search.example/?q=help+desk"
	}
	c.avatar = r.permille(200)
	c.bounced, c.spam, c.unsubscribed = r.permille(20), r.permille(5), r.permille(100)
	if hasSwallowed(i) {
		c.mergedFrom = append(c.mergedFrom, mergeEntry{id: s.mergedID(i), role: "lead", at: c.updated})
	}
	return c
}

// mergedID is the id of the contact that was merged into contact i.
func (s *synthetic) mergedID(i int) string { return s.ids.hexID(idContact, mergedBase+i, s.start) }
