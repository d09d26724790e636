package intercomtest

// Word lists for names and slots. All hosts end in .example, so that nothing
// generated here can reach a real mailbox or site.

func firstNames() []string {
	return []string{
		"Amara", "Anna", "Anton", "Björn", "Carla", "Chen", "Clara", "Daniel", "Dimitra", "Elena", "Emeka", "Fatima",
		"Felix", "Gabriela", "Hannah", "Hiroshi", "Ines", "Ivan", "Jamal", "Jelena", "Joana", "Jonas", "Kofi", "Lars",
		"Leila", "Liam", "Lucía", "Maja", "Marco", "Mei", "Mikael", "Mina", "Nadia", "Noah", "Olga", "Omar", "Paula",
		"Priya", "Rafael", "Rosa", "Samir", "Sofia", "Søren", "Tariq", "Tom", "Valentina", "Victor", "Yara", "Zoë", "李伟",
	}
}

func lastNames() []string {
	return []string{
		"Abara", "Bauer", "Castillo", "D'Angelo", "Eriksen", "Fischer", "García", "Haddad", "Ivanova", "Jansen", "Kowalski",
		"Lindqvist", "Marino", "Nakamura", "Okafor", "Petrov", "Quist", "Rossi", "Schäfer", "Tanaka", "Ueda", "Vargas",
		"Weber", "Xu", "Yilmaz", "Zimmer", "O'Neill", "Müller", "Novák", "Sørensen",
	}
}

func adminNames() []string {
	return []string{
		"Clara Winter", "Ben Adeyemi", "Sara Lund", "Tomás Rey", "Ida Holm", "Raj Mehta", "Nora Klein", "Paul Dubois",
		"Aiko Mori", "Lena Vogt", "Chris Boateng", "Eva Marek",
	}
}

func companyFirst() []string {
	return []string{
		"Brightwater", "Copper", "Dune", "Elmwood", "Fjord", "Granite", "Harbour", "Indigo", "Juniper", "Kestrel", "Lantern",
		"Marlow", "Northgate", "Orchard", "Pinecone", "Quarry", "Redwood", "Saffron", "Tidal", "Umber", "Violet", "Willow",
	}
}

func companySecond() []string {
	return []string{
		"Logistics", "Analytics", "Foods", "Studios", "Health", "Robotics", "Partners", "Textiles", "Energy", "Learning",
		"Travel", "Systems", "Publishing", "Motors", "Gardens",
	}
}

func companyForms() []string {
	return []string{"", "", "", " GmbH", " Ltd", " Inc.", " & Sons", " B.V."}
}

func industries() []string {
	return []string{"Software", "Retail", "Logistics", "Healthcare", "Education", "Manufacturing", "Media", "Energy"}
}

func plans() []string { return []string{"Starter", "Team", "Business", "Enterprise"} }

func features() []string {
	return []string{"Reports", "the calendar", "Invoices", "the inbox", "Dashboards", "Time tracking", "the catalogue", "Contacts"}
}

func devices() []string {
	return []string{"a Pixel 8", "an iPhone 13", "Windows 11", "a MacBook Air", "an old iPad", "Ubuntu 24.04", "a Galaxy S22"}
}

func errorCodes() []string {
	return []string{"E-1042", "ERR_TIMEOUT", "HTTP 502", "code 17", "AUTH-403", "\"unexpected end of file\"", "E-2210"}
}

func months() []string {
	return []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
}

func greetingsCustomer() []string {
	return []string{"Hi,", "Hello,", "Hi there,", "Hello team,", "Good morning,", "Hey 👋"}
}

func thanksCustomer() []string {
	return []string{
		"Thanks!", "Thank you for the quick reply.", "Many thanks in advance.", "Thanks, really appreciated 🙏", "Great, thank you.",
	}
}

func agentSmallTalk() []string {
	return []string{
		"Thank you for getting in touch.", "Thanks for the details, that helps.", "I am sorry for the trouble.",
		"Let me look into this for you.", "Thanks for waiting.", "I just checked this with a colleague.",
	}
}

func signOffs() []string {
	return []string{"Best regards,", "Kind regards,", "All the best,", "Cheers,"}
}

func botLines() []string {
	return []string{
		"Thanks for reaching out! While you wait for a teammate, here is an article that may answer your question.",
		"Hi, I am the assistant of this team. Please describe the problem in a sentence or two, and I will find the right person.",
		"Our team usually replies within two hours. You will get an e-mail as soon as there is an answer.",
		"Was this helpful? If not, I can pass you on to a person.",
	}
}

func botAnswers() []string {
	return []string{
		"You can find this under Settings: choose {feature}, then Advanced, and switch the option on. It takes effect after a few minutes.",
		"According to our help centre, {code} means that the session has expired. Please log out, wait a minute and log in again.",
		"Refunds of up to {amount} are made to the original payment method within five working days.",
	}
}

func ratingRemarks() []string {
	return []string{"Very quick and friendly", "It took a while, but it is solved now", "Nobody called me back", "👍", "Clara was great!", ""}
}

func tagNames() []string {
	return []string{
		"bug", "delivery", "api", "mobile", "feedback", "billing", "login", "churn", "howto", "vip", "refund", "urgent", "follow-up",
		"spam?", "beta", "q3-campaign", "german", "escalated", "duplicate", "documentation", "Ünïcode tag", "tag, with comma",
	}
}

func segmentNames() []string {
	return []string{"Active", "New", "Slipping away", "Paying customers", "Trial", "Beta testers", "Enterprise"}
}

func teamNames() []string { return []string{"Support", "Billing", "Technical", "Success"} }

func countries() [][3]string {
	return [][3]string{
		{"Germany", "Berlin", "Berlin"}, {"France", "Île-de-France", "Paris"}, {"Japan", "Tokyo", "Tokyo"},
		{"United States", "California", "San Francisco"}, {"Brazil", "São Paulo", "São Paulo"}, {"Nigeria", "Lagos", "Lagos"},
		{"Ireland", "Leinster", "Dublin"}, {"Australia", "Victoria", "Melbourne"},
	}
}
