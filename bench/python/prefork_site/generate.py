# SPDX-License-Identifier: MIT
"""Writes the applications of the pre-fork site: packages shop_00, shop_01, ... in a folder.

Each has what an application of a Django project has: eight models with their relations, forms of
them, validators, two pages, templates, and a compiled catalogue of translations. They are made by
code because thirty of them would be thousands of lines that nobody reads. The same call writes the
same files.
"""

import pathlib
import struct

MODELS = ("Kind", "Maker", "Product", "Offer", "Customer", "Order", "Parcel", "Review")
MESSAGES = 200
# The pages translate these; the others are there because projects have them.
WORDS = {"stock": "Vorrat", "reviews": "Meinungen", "previous": "zurück", "next": "weiter"}


def name_of(number):
    return f"shop_{number:02}"


def models_source(app):
    lines = ["from django.core import validators", "from django.db import models",
             "from django.utils.translation import gettext_lazy as _", ""]
    for place, model in enumerate(MODELS):
        lines += ["", f"class {model}(models.Model):"]
        if place:
            lines.append(f"    parent = models.ForeignKey({MODELS[place - 1]}, models.CASCADE, "
                         f"related_name='{model.lower()}s', verbose_name=_('{app} parent'))")
        lines += [
            f"    name = models.CharField(_('{app} {model} name'), max_length=80)",
            f"    slug = models.SlugField(_('{app} {model} slug'), unique=True)",
            "    state = models.CharField(max_length=1, default='n', choices=[('n', _('new')), "
            "('o', _('open')), ('c', _('closed'))])",
            "    price = models.DecimalField(max_digits=9, decimal_places=2, "
            "validators=[validators.MinValueValidator(0)])",
            "    count = models.PositiveIntegerField(default=0, "
            "validators=[validators.MaxValueValidator(10000)])",
            "    made = models.DateTimeField(auto_now_add=True)",
            "    text = models.TextField(blank=True)",
            "",
            "    class Meta:",
            "        ordering = ['name', '-made']",
            f"        verbose_name = _('{app} {model}')",
            "",
            "    def __str__(self):",
            "        return self.name",
            ""]
    return "\n".join(lines)


def forms_source():
    lines = ["from django import forms", "", "from . import models", ""]
    for model in MODELS:
        lines += ["", f"class {model}Form(forms.ModelForm):",
                  "    class Meta:",
                  f"        model = models.{model}",
                  "        fields = ['name', 'slug', 'state', 'count', 'text']",
                  ""]
    lines += ["", "class FilterForm(forms.Form):",
              "    words = forms.CharField(max_length=80, required=False)",
              "    least = forms.DecimalField(min_value=0, required=False)",
              "    state = forms.ChoiceField(choices=models.Kind._meta.get_field('state').choices, "
              "required=False)",
              ""]
    return "\n".join(lines)


def views_source(app):
    return "\n".join([
        "import pages", "",
        "from . import forms", "", "",
        "def page(request, number):",
        f"    return pages.show(request, '{app}', number, forms.FilterForm(request.GET))",
        "", "",
        "def kept(request, number):",
        "    pages.keep()",
        "    return page(request, number)",
        ""])


def urls_source(app):
    return "\n".join([
        "from django.urls import path", "", "from . import views", "",
        f"app_name = '{app}'",
        "urlpatterns = [",
        "    path('page/<int:number>/', views.page, name='page'),",
        "    path('kept/<int:number>/', views.kept, name='kept'),",
        "]", ""])


BASE_TEMPLATE = """{% load i18n %}<!DOCTYPE html>
<html><head><title>{% block title %}{{ app }}{% endblock %}</title></head><body>
<nav>{% block nav %}{% endblock %}</nav>
{% block content %}{% endblock %}
</body></html>
"""

PAGE_TEMPLATE = """{% extends "APP/base.html" %}{% load i18n %}
{% block title %}{{ app|capfirst }} {{ number }}{% endblock %}
{% block nav %}{% if number %}<a href="{% url 'APP:page' before %}">{% trans "previous" %}</a>
{% endif %}<a href="{% url 'APP:page' after %}">{% trans "next" %}</a>{% endblock %}
{% block content %}
<form>{{ form.words }} {{ form.words.errors }}</form>
<table>{% for entry in entries %}
<tr class="{% cycle 'odd' 'even' %}"><td>{{ forloop.counter }}</td><td>{{ entry.name|title }}</td>
<td>{{ entry.tags|join:", " }}</td><td>{{ entry.prices.net|floatformat:2 }}</td>
<td>{% trans "stock" %} {{ entry.prices.stock|length }}</td>
<td>{{ entry.reviews|length }} {% trans "reviews" %}: {{ entry.reviews.0.stars }}</td></tr>
{% empty %}<tr><td>-</td></tr>{% endfor %}</table>
{% endblock %}
"""


def compiled_messages(messages):
    """A catalogue in the format of GNU gettext (.mo), little-endian, without a hash table."""
    pairs = sorted((key.encode(), text.encode()) for key, text in messages.items())
    head_bytes = 7 * 4
    tables_bytes = 2 * 8 * len(pairs)
    tables, texts = [[], []], b""
    for column, table in enumerate(tables):
        for pair in pairs:
            table.append((len(pair[column]), head_bytes + tables_bytes + len(texts)))
            texts += pair[column] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), head_bytes,
                       head_bytes + 8 * len(pairs), 0, head_bytes + tables_bytes)
    return head + b"".join(struct.pack("<2I", *place) for table in tables for place in table) + texts


def messages_of(app):
    messages = {"": "Content-Type: text/plain; charset=UTF-8\n"
                    "Plural-Forms: nplurals=2; plural=n != 1;\n", **WORDS}
    for number in range(MESSAGES):
        messages[f"{app} says {number}"] = f"{app} sagt {number}"
    for model in MODELS:
        messages[f"{app} {model} name"] = f"{model}: Name"
    return messages


def write_site(folder, apps):
    """Write so many applications into the folder; returns their names."""
    folder = pathlib.Path(folder)
    names = [name_of(number) for number in range(apps)]
    for app in names:
        package = folder / app
        templates = package / "templates" / app
        messages = package / "locale" / "de" / "LC_MESSAGES"
        templates.mkdir(parents=True)
        messages.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "models.py").write_text(models_source(app))
        (package / "forms.py").write_text(forms_source())
        (package / "views.py").write_text(views_source(app))
        (package / "urls.py").write_text(urls_source(app))
        (templates / "base.html").write_text(BASE_TEMPLATE)
        (templates / "page.html").write_text(PAGE_TEMPLATE.replace("APP", app))
        (messages / "django.mo").write_bytes(compiled_messages(messages_of(app)))
    return names
