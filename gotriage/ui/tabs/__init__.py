"""One file a view, in the order of the first five minutes of an incident.

How to write a tab
    A view whose catalogue row has columns needs no file here: it gets `gotriage.ui.table_tab.TableTab`. A view that is
    more than a table gets a class here, named in `gotriage.ui.screens.tabs.OWN_TABS`, made with `(front, view)`.

    `gotriage.ui.tab.Tab`: the base. Fill in
        `compose()`   the widgets;
        `pull()`      read `self.front.session` at its cursor and hand the widgets what they show. It is called only
                      while the tab is seen, at most every `every` seconds once warm, at once when the cursor moved;
        `kinds`       the record types whose arrival calls for a new pull (those of the catalogue row by default);
        `hints`       the tab's own keys for the footer;
        and where they make sense `find(text, step)` for / n N, `narrow(text)` for &, `sort(reverse=)` for o O,
        `detail()` for Enter, `target_view()` for where Enter on that detail leads, `copied()` for y, `back()`
        for Backspace, `command()` for e. More keys: `BINDINGS` and actions, as Textual has them.
    `gotriage.ui.table_tab.TableTab`: a Tab with a summary line, a BigTable, a line about gaps, a page for nothing.
    `gotriage.ui.state`: the page for nothing to show (`nothing_page`), and the line about gaps (`note`).

    `gotriage.ui.widgets.lines.LineView`: the base of all that scrolls; it draws only lines in sight, has the cursor and
        its keys, and posts `Moved` and `Entered`. A subclass gives `item_count`, `draw(line, width)` (with `strip_of`)
        and calls `set_line_count`.
    `gotriage.ui.widgets.page.Page`: composed lines, `build(width) -> [PageLine]`; draws only what has changed.
    `gotriage.ui.widgets.table.BigTable`: rows under columns, any number of them.
    `gotriage.ui.widgets.chrome.OneLine`: one line from a function `width -> spans`; `update()` draws it if changed.
    `Frame.say(text, role)` (`self.screen`) puts a line into the footer, `Frame.ask(label, answer)` asks for one.

Text is never markup: widgets draw spans (`gotriage.ui.spans`), literal text with a role of `gotriage.ui.theme`. No tab
asks whether it is live, starts a thread or reads a clock; tabs are strangers to each other.
"""
