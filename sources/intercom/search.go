package intercom

// searchBody is what the search endpoints take. Sort and pagination work as here, although the published
// description lacks the first (fact sheet, section 2.3).
type searchBody struct {
	Query      any         `json:"query"`
	Sort       *searchSort `json:"sort,omitempty"`
	Pagination searchPage  `json:"pagination"`
}

type searchSort struct {
	Field string `json:"field"`
	Order string `json:"order"` // ascending or descending
}

type searchPage struct {
	PerPage       int    `json:"per_page"`
	StartingAfter string `json:"starting_after,omitempty"`
}

type filter struct {
	Field    string `json:"field"`
	Operator string `json:"operator"`
	Value    any    `json:"value"`
}

type group struct {
	Operator string   `json:"operator"`
	Value    []filter `json:"value"`
}

func anyOf(f ...filter) group { return group{"OR", f} }
func allOf(f ...filter) group { return group{"AND", f} }
