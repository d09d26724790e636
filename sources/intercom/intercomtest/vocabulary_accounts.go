package intercomtest

func accountTopics() []topic {
	return []topic{
		{
			name: "billing", tag: "billing",
			subjects: []string{"Charged twice", "Invoice {order} is wrong", "Question about my bill"},
			opening: []string{
				"I was charged {amount} twice on {date}.",
				"Invoice {order} shows {n} seats, but there are only three of us.",
				"We moved to the {plan} plan last month and the old price is still on the invoice.",
			},
			detail: []string{
				"The bank shows both payments as booked, not as reserved.",
				"Our VAT number is missing on it as well.",
				"I cancelled two seats on {date} and have the confirmation mail.",
				"My boss has to sign this off before the end of the week.",
				"It says \"<unknown>\" where our company name should be.",
			},
			question: []string{
				"Could you send me the last four digits of the card and the date of both charges?",
				"Under which e-mail address was the account opened?",
				"Should the corrected invoice go to the same address?",
			},
			answer: []string{
				"The card ends in 4{n}, both charges are from {date}.",
				"The account runs on the finance address, I am only an admin.",
				"Yes please, same address, and with the VAT number.",
			},
			fix: []string{
				"You are right, the second charge was ours: {amount} is on its way back to you, reference {order}.",
				"I have corrected the seats and sent you a new invoice, the old one is void.",
				"The change to {plan} takes effect on {date}; until then the old price is charged in proportion.",
				"You can add the VAT number under Settings, Billing, and every open invoice is made again with it.",
			},
			result: []string{
				"The refund arrived today, thanks for sorting it out.",
				"The new invoice is correct now.",
				"I see the new invoice, but the old one is still marked as due.",
			},
			closing: []string{
				"Sorry again for the mix-up with the invoice.",
				"All settled then, have a good week!",
			},
			note: []string{
				"Double charge because of the retry at {date}, refund approved by Clara.",
				"Customer threatened a chargeback, please answer within the hour.",
			},
		},
		{
			name: "login", tag: "login",
			subjects: []string{"Cannot log in", "Password mail never arrives", "Locked out of my account"},
			opening: []string{
				"I cannot log in any more, it says {code}.",
				"The password reset mail does not arrive, I asked for it {n} times.",
				"After switching phones the login code is never accepted.",
			},
			detail: []string{
				"The address is definitely right, I copied it from your newsletter.",
				"I looked in the spam folder too.",
				"Until {date} it worked without any trouble.",
				"All my work is in there, I really need to get in today.",
				"The clock on {device} is correct.",
			},
			question: []string{
				"Do you use single sign-on, or an e-mail address and password?",
				"Could you check whether your company blocks mails from our domain?",
				"Do you still have one of the recovery codes?",
			},
			answer: []string{
				"Address and password, no single sign-on.",
				"Our IT says nothing is blocked, but they did see a mail rejected on {date}.",
				"I have the codes somewhere on paper, I will look tonight.",
			},
			fix: []string{
				"I have unlocked the account; please use the link I just sent to {email} within the next hour.",
				"Your address was on our suppression list after a bounce on {date}, and I have taken it off.",
				"I have switched the second factor off after checking your answers, please set it up again right after the login.",
			},
			result: []string{
				"The mail came through and I am in. Thank you so much!",
				"It worked with the recovery code.",
				"Still no mail, not even in spam.",
			},
			closing: []string{
				"Perfect. Please print the new recovery codes and keep them safe.",
				"Good that you are back in, let us know if it happens again.",
			},
			note: []string{
				"Identity checked by phone, last invoice amount {amount} was correct.",
				"Hard bounce on {date} put {email} on the suppression list.",
			},
		},
		{
			name: "cancellation", tag: "churn",
			subjects: []string{"Cancel my subscription", "Ending our contract", "Downgrade to {plan}"},
			opening: []string{
				"I would like to cancel my subscription at the end of the month.",
				"Please move us from the current plan down to {plan}.",
				"How do I close the account and get a copy of our data?",
			},
			detail: []string{
				"We simply do not use {feature} enough to pay {amount} for it.",
				"The budget for next year has been cut.",
				"It is nothing to do with the product, we liked it.",
				"Your cancel button only brings me back to the same page.",
			},
			question: []string{
				"May I ask what made you decide to leave?",
				"Would a break of {n} months, free of charge, be of any help?",
				"Do you need the data as CSV, or is a full archive better for you?",
			},
			answer: []string{
				"Mostly the price, and that {feature} does not work offline.",
				"A break sounds good, could it start on {date}?",
				"A full archive please, as small as possible.",
			},
			fix: []string{
				"Your subscription ends on {date}, and you keep full access until then; the confirmation is on its way.",
				"I have put the account on hold for {n} months, nothing will be charged in the meantime.",
				"You are on {plan} from the next invoice on, and the difference of {amount} is credited.",
				"The archive is ready under Settings, Data; the link works for seven days.",
			},
			result: []string{
				"Got the confirmation, thank you for making this easy.",
				"Thanks, the hold is just what we needed.",
				"The link to the archive gives me {code}.",
			},
			closing: []string{
				"We would be happy to see you again some day.",
				"Thank you for the honest words, they help us more than you would think.",
			},
			note: []string{
				"Offered the break, they took it. Follow up on {date}.",
				"Price is the reason, third one from this industry.",
			},
		},
		{
			name: "permissions", tag: "howto",
			subjects: []string{"How do I add a colleague?", "Guest cannot see {feature}", "Transfer of ownership"},
			opening: []string{
				"How can I give a colleague access to {feature} without making her an admin?",
				"Our former admin has left, and nobody can invite new people now.",
				"One of our guests cannot see {feature}, although the role looks right.",
			},
			detail: []string{
				"She gets the message {code} after clicking on the invitation.",
				"We are on the {plan} plan with {n} seats, two of them are free.",
				"I read the help page on roles, but I do not see that menu.",
				"It used to be under Settings, Team, I believe.",
			},
			question: []string{
				"Which role does she have at the moment, Guest or Member?",
				"Can somebody with a company address confirm that the former admin has left?",
				"Was the invitation sent to {email}, or to another address?",
			},
			answer: []string{
				"She is a Guest, the role is called \"Guest (limited)\".",
				"I can confirm it, and our managing director is in copy.",
				"It went to {email}, which is the right one.",
			},
			fix: []string{
				"Guests only see what was shared with them: open {feature}, choose Share and add the whole group.",
				"I have made you the owner after the confirmation, please log out and in once.",
				"The invitation had expired after {n} days, so I have sent a fresh one.",
			},
			result: []string{
				"She can see it now, thanks.",
				"I have the owner menu, wonderful.",
				"The invitation works, but she lands in an empty workspace.",
			},
			closing: []string{
				"You are welcome! The roles page will get a picture of that menu.",
				"Do write to us if another guest gets stuck.",
			},
			note: []string{
				"Ownership moved after confirmation from the director, see attachment.",
				"Two free seats, no upgrade needed.",
			},
		},
		{
			name: "anmeldung", tag: "login",
			subjects: []string{"Anmeldung nicht möglich", "Frage zur Rechnung {order}"},
			opening: []string{
				"Seit {date} kann ich mich nicht mehr anmelden, es erscheint nur {code}.",
				"Auf der Rechnung {order} fehlt unsere Umsatzsteuernummer.",
			},
			detail: []string{
				"Das Passwort habe ich schon zweimal zurückgesetzt, ohne Erfolg.",
				"Wir bräuchten das bitte bis Ende der Woche für die Buchhaltung.",
				"Mit {device} geht es übrigens auch nicht.",
			},
			question: []string{
				"Könnten Sie uns bitte sagen, welchen Browser Sie benutzen?",
				"An welche Adresse dürfen wir die korrigierte Fassung schicken?",
			},
			answer: []string{
				"Firefox, die neueste Version, auf {device}.",
				"Bitte an {email}, vielen Dank.",
			},
			fix: []string{
				"Ich habe Ihr Konto entsperrt, bitte melden Sie sich über den neuen Link an.",
				"Die Rechnung wurde korrigiert; Sie finden sie unter Einstellungen, Abrechnung.",
			},
			result: []string{
				"Jetzt klappt es, herzlichen Dank für die schnelle Hilfe!",
				"Die Rechnung ist angekommen, alles in Ordnung.",
			},
			closing: []string{
				"Sehr gerne, einen schönen Tag noch!",
				"Melden Sie sich jederzeit wieder bei uns.",
			},
			note: []string{
				"Kunde hat angerufen, Identität geprüft.",
			},
		},
	}
}
