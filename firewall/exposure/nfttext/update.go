package nfttext

// update reads `add @s { ip saddr timeout 5m limit rate 5/second }`, with `: data` for a map.
func (l *lexer) update(t token) (expr, error) {
	name, err := l.name("a set")
	if err != nil {
		return nil, err
	}
	if len(name) < 2 || name[0] != '@' {
		return nil, errorAt(t.at, "%q is not a set's name", name)
	}
	if err := l.expect("{"); err != nil {
		return nil, err
	}
	key, statements, err := l.updateKey()
	if err != nil {
		return nil, err
	}
	body := expr{"op": t.text, "elem": key, "set": name}
	if statements != nil {
		body["stmt"] = statements
	}
	mapped, err := l.accept(":")
	if err != nil {
		return nil, err
	}
	if !mapped {
		return expr{"set": body}, l.expect("}")
	}
	delete(body, "set")
	body["map"] = name
	if v, err := l.peek(); err != nil {
		return nil, err
	} else if data, ok, err := l.verdict(v); err != nil {
		return nil, err
	} else if ok {
		body["data"] = data
	} else if body["data"], err = l.key(); err != nil {
		return nil, err
	}
	return expr{"map": body}, l.expect("}")
}

// updateKey reads the key of an element that a rule adds, and its statements.
func (l *lexer) updateKey() (key any, statements []any, err error) {
	if key, err = l.tuple(); err != nil {
		return nil, nil, err
	}
	for {
		t, err := l.peek()
		if err != nil {
			return nil, nil, err
		}
		switch {
		case t.is("timeout", "expires", "comment"):
			if _, err := l.next(); err != nil {
				return nil, nil, err
			}
			if _, err := l.name("a value"); err != nil {
				return nil, nil, err
			}
		case t.is("limit", "counter", "quota", "ct", "last"):
			s, err := l.statement()
			if err != nil {
				return nil, nil, err
			}
			statements = append(statements, s)
		default:
			return key, statements, nil
		}
	}
}

func (l *lexer) meter(token) (expr, error) {
	name, err := l.name("a meter's name")
	if err != nil {
		return nil, err
	}
	body := expr{"name": name}
	if sized, err := l.accept("size"); err != nil {
		return nil, err
	} else if sized {
		if body["size"], err = l.integer("a size"); err != nil {
			return nil, err
		}
	}
	if err := l.expect("{"); err != nil {
		return nil, err
	}
	key, statements, err := l.updateKey()
	if err != nil {
		return nil, err
	}
	body["key"], body["stmt"] = key, statements
	return expr{"meter": body}, l.expect("}")
}
