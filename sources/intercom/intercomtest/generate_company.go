package intercomtest

import (
	"fmt"
	"strings"
)

func (s *synthetic) companyUpdated(i int, created int64) int64 {
	r := newRNG(s.seed, streamCompany, i)
	return s.later(&r, created, false)
}

// companyID: one company in fifty has an id in the UUID form.
func (s *synthetic) companyID(i int, created int64) string {
	if i%50 == 9 {
		return s.ids.uuidID(idCompany, i, created)
	}
	return s.ids.hexID(idCompany, i, created)
}

func (s *synthetic) company(i int, created int64) *company {
	r := newRNG(s.seed, streamCompany, i)
	c := &company{index: i, id: s.companyID(i, created), created: created, plan: -1}
	c.updated = s.later(&r, created, false)
	if r.permille(s.odds) {
		c.odd = 1 + r.n(companyOddities)
	}
	c.name = pick(&r, s.voc.companyFirst) + " " + pick(&r, s.voc.companySecond) + pick(&r, s.voc.companyForms)
	switch k := r.n(1000); {
	case k < 30: // made through the API with nothing but an id
		c.name, c.noName = "", true
	case k < 40:
		c.name = ""
	}
	c.companyID = fmt.Sprintf("org-%d", 1000+i)
	if r.permille(100) {
		c.companyID = fmt.Sprint(70000 + i)
	}
	if c.odd == companyOddNoCompanyID {
		c.companyID = ""
	}
	host := strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(c.name, " & ", "-"), " ", "-"))
	host = strings.Trim(strings.ReplaceAll(host, ".", ""), "-")
	switch k := r.n(1000); {
	case host == "" || k < 200:
	case k < 300:
		c.website = "https://www." + host + ".example/about?utm=x"
	case k < 350:
		c.website = "HTTP://" + strings.ToUpper(host) + ".EXAMPLE"
	case k < 360:
		c.website = "n/a"
	default:
		c.website = "http://" + host + ".example"
	}
	if r.permille(700) {
		c.industry = pick(&r, s.voc.industries)
	}
	if r.permille(700) {
		c.plan = r.n(len(s.voc.plans))
	}
	if r.permille(600) {
		c.size = r.between(2, 5000)
	}
	c.spend = "0"
	switch k := r.n(1000); {
	case k < 400:
		c.spend = fmt.Sprint(r.between(10, 9000))
	case k < 600:
		c.spend = fmt.Sprintf("%d.%d5", r.between(10, 9000), r.n(10))
	}
	c.sessions = r.n(3000)
	if r.permille(600) {
		c.remote = created - int64(r.n(400*86400))
	}
	if r.permille(850) {
		c.lastRequest = created + int64(r.n(int(max(1, c.updated-created))))
	}
	if r.permille(200) {
		c.tags = []int{r.n(len(s.voc.tags))}
	}
	if r.permille(300) {
		c.segments = []int{r.n(len(s.voc.segments))}
	}
	if r.permille(60) {
		c.notes = r.between(1, 3)
	}
	c.attributes = s.attributesOf(&r, c.odd == companyOddAttributes)
	return c
}
