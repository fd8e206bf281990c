"""The demo's business application: an order form in which a scripted agent types, with the time painted as bars.

Run by Debian's Python (python3-tk): ``/usr/bin/python3 business_window.py [--geometry WxH+X+Y] [--title TEXT]``. Its
WM_CLASS class is ``SipgateDemo``. The bars (``bars.py``) are redrawn every 20 ms or oftener, and at once when the
window is asked to repaint; the time is taken just before drawing. All customers are invented.
"""

from __future__ import annotations

import argparse
import itertools
import time
import tkinter as tk
from collections.abc import Iterator
from tkinter import ttk

try:
    from deploy.demo.bars import CELL, COLUMNS, ORIGIN, ROWS, cells
except ImportError:  # run as a script by another Python
    from bars import CELL, COLUMNS, ORIGIN, ROWS, cells  # type: ignore[import-not-found,no-redef]

REDRAW_MS = 15
TYPE_MS = 70
FIELDS = ("Customer", "Street", "Town", "Article", "Quantity", "Price", "Delivery")
ORDERS = (
    ("Ateliers Verlaine", "12 rue des Tanneurs", "59000 Lille", "Palette rack 2.4 m", "6", "184.50", "Tuesday"),
    ("Boulangerie Saint-Roch", "3 place du Marché", "80000 Amiens", "Steel shelf, white", "14", "39.90", "Thursday"),
    ("Garage du Canal", "45 quai de l'Ouest", "67000 Strasbourg", "Workbench, oak top", "2", "612.00", "Friday"),
    ("Pharmacie Molière", "8 avenue Molière", "69002 Lyon", "Drawer unit, 6 trays", "3", "275.25", "Monday"),
)


class BusinessWindow:
    """The window, its bars and its agent."""

    def __init__(self, root: tk.Toplevel) -> None:
        self._root = root
        width, height = COLUMNS * CELL, ROWS * CELL
        # Its place in the window is where the reader looks: ORIGIN is the canvas' own edge, so no border.
        self._canvas = tk.Canvas(
            root, width=width, height=height, highlightthickness=0, borderwidth=0, background="black"
        )
        self._canvas.place(x=ORIGIN[0], y=ORIGIN[1])
        self._shown = [False] * (ROWS * COLUMNS)
        self._cells = [self._cell(place) for place in range(ROWS * COLUMNS)]
        self._canvas.bind("<Expose>", lambda _: self._set())
        self._values = {name: tk.StringVar(root) for name in FIELDS}
        self._status = tk.StringVar(root, "Orders today: 0")
        self._form()
        self._typing = self._agent()
        # Not before it is on the screen: update_idletasks while Tk maps a window can lock Tk up for good.
        self._canvas.bind("<Map>", self._begin)

    def _cell(self, place: int) -> int:
        row, column = divmod(place, COLUMNS)
        x, y = column * CELL, row * CELL
        return self._canvas.create_rectangle(x, y, x + CELL, y + CELL, fill="black", width=0)

    def _form(self) -> None:
        frame = ttk.Frame(self._root, padding=12)
        frame.place(x=0, y=ORIGIN[1] + ROWS * CELL + 16, relwidth=1.0)
        for row, name in enumerate(FIELDS):
            ttk.Label(frame, text=name, width=12).grid(row=row, column=0, sticky="w", pady=4)
            ttk.Entry(frame, textvariable=self._values[name], width=48).grid(row=row, column=1, sticky="we", pady=4)
        ttk.Button(frame, text="Save order").grid(row=len(FIELDS), column=1, sticky="e", pady=8)
        ttk.Label(frame, textvariable=self._status).grid(row=len(FIELDS), column=0, sticky="w")
        frame.columnconfigure(1, weight=1)

    def _begin(self, _: object) -> None:
        self._canvas.unbind("<Map>")
        self._root.after(REDRAW_MS, self._redraw)
        self._root.after(TYPE_MS, self._type)

    def _redraw(self) -> None:
        self._root.after(REDRAW_MS, self._redraw)
        self._set()
        self._canvas.update_idletasks()

    def _set(self) -> None:
        """The cells for now; Tk paints them when it has nothing else to do."""
        wanted = cells(time.time_ns())
        for item, is_white, was_white in zip(self._cells, wanted, self._shown, strict=True):
            if is_white != was_white:
                self._canvas.itemconfigure(item, fill="white" if is_white else "black")
        self._shown = wanted

    def _type(self) -> None:
        next(self._typing)
        self._root.after(TYPE_MS, self._type)

    def _agent(self) -> Iterator[None]:
        """One keystroke a turn, order after order."""
        for number, order in enumerate(itertools.cycle(ORDERS), 1):
            for name, text in zip(FIELDS, order, strict=True):
                for end in range(1, len(text) + 1):
                    self._values[name].set(text[:end])
                    yield
            self._status.set(f"Orders today: {number}")
            for variable in self._values.values():
                variable.set("")
            yield


def main() -> None:
    """Show the window until it is closed."""
    parser = argparse.ArgumentParser(description="The demo's business application.")
    parser.add_argument("--geometry", default="720x480+120+90")
    parser.add_argument("--title", default="Orders - sipgate demo")
    options = parser.parse_args()
    application = tk.Tk()
    application.withdraw()
    window = tk.Toplevel(application, class_="SipgateDemo")  # Tk would write its own class as Sipgatedemo
    window.title(options.title)
    window.geometry(options.geometry)
    window.protocol("WM_DELETE_WINDOW", application.destroy)
    BusinessWindow(window)
    application.mainloop()


if __name__ == "__main__":
    main()
